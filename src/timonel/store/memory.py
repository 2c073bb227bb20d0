"""A store in a dict: the reference backend, and the one that tests and throw-away clusters use.

Every write takes one revision, so the log is a list in which the event of revision `r` stands at a known place.
"""

from __future__ import annotations

import builtins
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterator, Sequence

from timonel.aio.broadcast import Broadcast, Lagged
from timonel.store.base import (
    FIRST_REVISION,
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    KeyMissing,
    Page,
    Record,
    RevisionConflict,
)

BACKLOG = 100_000  # events a watcher may lag behind


def after_prefix(prefix: str) -> str:
    """The least string that sorts after every string with this prefix."""
    return prefix + "\U0010ffff"


class MemoryStore:
    shared = False

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._keys: list[str] = []  # sorted
        self._log: list[Event] = []
        self._revision = FIRST_REVISION
        self._compacted = FIRST_REVISION  # the log holds the revisions after this one
        self._events: Broadcast[Event] = Broadcast(BACKLOG)

    async def get(self, key: str) -> Record | None:
        return self._records.get(key)

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        if revision and revision != self._revision:
            records = self._at(revision)
            keys = sorted(records)
        else:
            records, keys = self._records, self._keys
        low = max(bisect_left(keys, prefix), bisect_right(keys, after))
        high = max(bisect_left(keys, after_prefix(prefix)), low)
        end = min(high, low + limit) if limit else high
        return Page([records[k] for k in keys[low:end]], revision or self._revision, high - end)

    async def create(self, key: str, value: bytes) -> Record:
        if key in self._records:
            raise KeyExists(key)
        revision = self._revision + 1
        record = Record(key, value, created=revision, modified=revision)
        self._commit(key, record)
        return record

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        old = self._expect(key, expected)
        record = Record(key, value, created=old.created, modified=self._revision + 1)
        self._commit(key, record)
        return record

    async def delete(self, key: str, *, expected: int) -> Record:
        old = self._expect(key, expected)
        self._commit(key, None)
        return Record(key, old.value, created=old.created, modified=self._revision)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Event]]:
        after = max(after, FIRST_REVISION)
        with self._events.subscribe() as subscription:
            if after < self._compacted:
                raise Compacted(f"revision {after} is older than {self._compacted}")
            missed = [e for e in self._log[after - self._compacted :] if e.key.startswith(prefix)]
            seen = max(after, self._revision)
            if missed:
                yield missed
            while True:
                try:
                    batch = await subscription.next()
                except Lagged as error:
                    raise Compacted("the watcher was too slow") from error
                found = [e for e in batch if e.revision > seen and e.key.startswith(prefix)]
                if found:
                    yield found

    async def compact(self, revision: int) -> None:
        revision = min(revision, self._revision)
        if revision > self._compacted:
            del self._log[: revision - self._compacted]
            self._compacted = revision

    async def revision(self) -> int:
        return self._revision

    async def barrier(self) -> int:
        return self._revision

    async def check(self) -> str:
        return ""

    async def close(self) -> None:
        return None

    def _expect(self, key: str, expected: int) -> Record:
        old = self._records.get(key)
        if old is None:
            raise KeyMissing(key)
        if old.modified != expected:
            raise RevisionConflict(f"{key} is at {old.modified}, not {expected}")
        return old

    def _at(self, revision: int) -> dict[str, Record]:
        if revision < self._compacted:
            raise Compacted(f"revision {revision} is older than {self._compacted}")
        if revision > self._revision:
            raise FutureRevision(f"revision {revision} is newer than {self._revision}")
        records = dict(self._records)
        later: builtins.list[Event] = self._log[revision - self._compacted :]
        for event in reversed(later):
            if event.previous is None:
                records.pop(event.key, None)
            else:
                records[event.key] = event.previous
        return records

    def _commit(self, key: str, record: Record | None) -> None:
        self._revision += 1
        event = Event(key, self._revision, record, self._records.get(key))
        self._log.append(event)
        if record is None:
            del self._records[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            if event.previous is None:
                insort(self._keys, key)
            self._records[key] = record
        self._events.publish((event,))

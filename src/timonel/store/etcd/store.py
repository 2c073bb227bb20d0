"""A store in etcd v3, which other servers may use at the same time.

Keys lie below a root (`/registry`); nothing else of etcd is touched. Writes are transactions that compare a revision;
many are under way at once, and etcd commits them in groups. A watch goes on after every lost connection where it was,
and raises Compacted when that part of history is gone.

Others write here as well, so whoever keeps a copy asks `barrier` before answering from it: the revision of a quorum
read, which the watch of everything is then certain to reach. Where the newest write was outside of the root, nothing
would come; etcd is asked how far the watch is, or, in versions that answer this too early (before 3.4.25 and 3.5.8), a
write below the root is made.

Upstream: apiserver/pkg/storage/etcd3/{store,watcher}.go, apiserver/pkg/storage/feature, cacher/lister_watcher.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from timonel.aio.clock import Clock, wait_until
from timonel.aio.rounds import Rounds
from timonel.store.base import (
    FIRST_REVISION,
    Compacted,
    Event,
    KeyExists,
    KeyMissing,
    Page,
    Record,
    RevisionConflict,
    Unreachable,
)
from timonel.store.etcd import connection, wire
from timonel.store.etcd.connection import Connection, Settings, WatchCall

logger = logging.getLogger(__name__)

PAGE = 1000  # records asked for at once, where all are wanted
RETRY, RETRY_AT_MOST = 0.1, 2.0  # seconds before a lost watch is opened again
NUDGE_AFTER = 0.05  # seconds in which the events of others usually come by themselves
BARRIER_TIMEOUT = 5.0  # seconds after which a copy that does not become new is given up
RAISE_AT_ONCE = 256
FENCE = "/timonel/fence"  # written where nothing else can tell how far a watch is
EVERYTHING = "/"


def after_prefix(prefix: bytes) -> bytes:
    """The least key after all that begin with the prefix."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))  # keys are UTF-8, which has no byte 255


def tells_progress(version: str) -> bool:
    """Whether a progress notification of this version comes after the events that it covers."""
    try:
        major, minor, patch = (int(part) for part in version.split("-")[0].split(".")[:3])
    except ValueError:
        return False
    fixed = {(3, 4): 25, (3, 5): 8}.get((major, minor))
    return patch >= fixed if fixed is not None else (major, minor) >= (3, 6)


class EtcdStore:
    """Open it with `await EtcdStore.open(settings, clock)`; who opens it closes it."""

    shared = True

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._connection = Connection(settings, clock)
        self._clock = clock
        self._root = settings.root.rstrip("/")
        self._rounds = Rounds(self.revision)
        self._tells_progress = False
        self._shown = 0  # how far the watch of everything is
        self._moved = asyncio.Event()  # it has gone further; a new one each time
        self._watching: WatchCall | None = None  # the stream of the watch of everything

    @classmethod
    async def open(cls, settings: Settings, clock: Clock) -> EtcdStore:
        """Raises Unreachable where no endpoint answers, Misconfigured."""
        store = cls(settings, clock)
        try:
            status = wire.StatusResponse.read(await store._connection.call(connection.STATUS, b""))
            await store.revision()  # also tells whether we are let in
        except BaseException:
            await store.close()
            raise
        store._tells_progress = tells_progress(status.version)
        return store

    async def check(self) -> str:
        return ""

    async def close(self) -> None:
        await self._connection.close()

    # ---- reads

    async def get(self, key: str) -> Record | None:
        kvs = (await self._range(wire.range_request(self._key(key)))).kvs
        return self._record(kvs[0]) if kvs else None

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        start, end = self._key(prefix), after_prefix(self._key(prefix))
        if after >= prefix:
            start = self._key(after) + b"\0"
        found: list[Record] = []
        while True:
            size = limit or PAGE
            request = wire.range_request(start, end, limit=size, revision=revision)
            answer = await self._range(request)
            revision = revision or answer.revision
            found += map(self._record, answer.kvs)
            if limit or not answer.more:
                return Page(found, revision, answer.count - len(answer.kvs))
            start = answer.kvs[-1].key + b"\0"

    async def revision(self) -> int:
        """Of a quorum: no write that anybody has been told of is newer."""
        return (await self._range(wire.range_request(self._key(FENCE), count_only=True))).revision

    async def _range(self, request: bytes) -> wire.RangeResponse:
        return wire.RangeResponse.read(await self._connection.call(connection.RANGE, request))

    # ---- writes

    async def create(self, key: str, value: bytes) -> Record:
        where = self._key(key)
        answer = await self._txn(
            [wire.compare(wire.CREATE, where, 0)], [wire.op_put(wire.put_request(where, value))]
        )
        if not answer.succeeded:
            raise KeyExists(key)
        return Record(key, value, answer.revision, answer.revision)

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        where = self._key(key)
        change = [
            wire.op_put(wire.put_request(where, value)),
            wire.op_range(wire.range_request(where, keys_only=True)),
        ]
        written = await self._compared(key, expected, change)
        return Record(key, value, written.created, written.modified)

    async def delete(self, key: str, *, expected: int) -> Record:
        where = self._key(key)
        change = [wire.op_range(wire.range_request(where)), wire.op_delete(wire.delete_request(where))]
        gone = await self._compared(key, expected, change)
        return Record(key, gone.value, gone.created, gone.modified)

    async def _compared(self, key: str, expected: int, change: Sequence[bytes]) -> wire.KeyValue:
        """The record that the range among the operations found, with the revision of the write."""
        where = self._key(key)
        look = [wire.op_range(wire.range_request(where, keys_only=True))]
        answer = await self._txn([wire.compare(wire.MOD, where, max(expected, 1))], change, look)
        (found,) = answer.ranges[0].kvs or (None,)
        if found is None:
            raise KeyMissing(key)
        if not answer.succeeded:
            raise RevisionConflict(f"{key} is at {found.modified}, not {expected}")
        found.modified = answer.revision
        return found

    async def _txn(
        self, compares: Sequence[bytes], success: Sequence[bytes], failure: Sequence[bytes] = ()
    ) -> wire.TxnResponse:
        request = wire.txn_request(compares, success, failure)
        return wire.TxnResponse.read(await self._connection.call(connection.TXN, request, idempotent=False))

    # ---- watches

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Event]]:
        after = max(after, FIRST_REVISION)
        self._has_shown(prefix, after)
        delay = RETRY
        while True:
            try:
                async with self._connection.watching() as call:
                    # From `after` itself, which has been seen: etcd refuses it exactly where later events may be gone
                    # (from the next one on, it would leave out a deletion that has just been compacted).
                    await call.send(wire.watch_create(self._key(prefix), self._end(prefix), start=after))
                    async for response in self._responses(call, prefix):
                        delay = RETRY
                        events = [e for e in map(self._event, response.events) if e.revision > after]
                        if not response.events and response.revision > after:
                            events = [Event("", response.revision, None, None)]
                        if events:
                            after = events[-1].revision
                            yield events
                            self._has_shown(prefix, after)
            except Unreachable as error:
                logger.warning("Lost a watch on etcd", extra={"error": str(error), "revision": after})
            await self._clock.sleep(delay)
            delay = min(delay * 2, RETRY_AT_MOST)

    async def _responses(self, call: WatchCall, prefix: str) -> AsyncIterator[wire.WatchResponse]:
        """Whole responses, until the stream ends. Raises Compacted, Unreachable."""
        whole: wire.WatchResponse | None = None
        if prefix == EVERYTHING:
            self._watching = call
        try:
            while (response := await call.receive()) is not None:
                if response.compacted:
                    raise Compacted(f"history before revision {response.compacted} is compacted")
                if response.canceled:
                    await call.refused(response.reason)
                if response.created:
                    continue
                if whole is not None:
                    response.events[:0] = whole.events
                whole = response if response.fragment else None
                if whole is None:
                    yield response
        finally:
            if self._watching is call:
                self._watching = None

    def _has_shown(self, prefix: str, revision: int) -> None:
        if prefix == EVERYTHING and revision > self._shown:
            self._shown = revision
            self._moved.set()
            self._moved = asyncio.Event()

    def _end(self, prefix: str) -> bytes:
        return after_prefix(self._key(prefix))

    # ---- reads from a copy

    async def barrier(self) -> int:
        """Asks once for all who wait. Raises Unreachable where the watch does not come that far."""
        try:
            async with asyncio.timeout(BARRIER_TIMEOUT):  # those who have to wait for the next round, too
                revision = await self._rounds.answer()
        except TimeoutError as error:
            raise Unreachable("etcd did not answer in time") from error
        if self._shown and revision > self._shown:
            await self._until_shown(revision)
        return revision

    async def _until_shown(self, revision: int) -> None:
        give_up = self._clock.monotonic() + BARRIER_TIMEOUT
        while self._shown < revision:
            if not await wait_until(self._clock, self._moved, NUDGE_AFTER) and self._shown < revision:
                if self._clock.monotonic() > give_up:
                    raise Unreachable("etcd did not send what others have written")
                await self._nudge()

    async def _nudge(self) -> None:
        """Make etcd say something."""
        if not self._tells_progress:
            await self._connection.call(connection.PUT, wire.put_request(self._key(FENCE), b"{}"))
        elif self._watching is not None:
            await self._watching.send(wire.WATCH_PROGRESS)

    # ---- upkeep

    async def compact(self, revision: int) -> None:
        newest = await self.revision()
        try:
            await self._connection.call(connection.COMPACT, wire.compaction_request(min(revision, newest)))
        except Compacted:
            return  # by another server

    async def remove_all(self) -> None:
        """Everything below the root."""
        start = self._key(EVERYTHING)
        await self._connection.call(connection.DELETE, wire.delete_request(start, after_prefix(start)))

    async def raise_revision(self, target: int, progress: Callable[[int], None]) -> None:
        """Until it is at least `target`: only writes can do that."""
        request = wire.put_request(self._key(FENCE), b"{}")
        newest = await self.revision()
        while newest < target:
            count = min(target - newest, RAISE_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(self._connection.call(connection.PUT, request))
            newest += count
            progress(count)
        await self._connection.call(connection.DELETE, wire.delete_request(self._key(FENCE)))

    # ---- names

    def _key(self, key: str) -> bytes:
        return f"{self._root}{key}".encode()

    def _name(self, kv: wire.KeyValue) -> str:
        """Anything may be written into etcd; what is no text is nothing that anybody asks for."""
        return kv.key.decode(errors="replace")[len(self._root) :]

    def _record(self, kv: wire.KeyValue) -> Record:
        return Record(self._name(kv), kv.value, kv.created, kv.modified)

    def _event(self, event: wire.WatchEvent) -> Event:
        kv, previous = event.kv, event.previous
        record = None if event.deleted else self._record(kv)
        return Event(
            self._name(kv), kv.modified, record, self._record(previous) if previous is not None else None
        )

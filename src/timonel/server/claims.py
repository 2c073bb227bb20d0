"""Node ports, and whatever else only one object may have, where several servers give them out: who claims first has it.

A claim is written before the object that uses the number. One that was left behind is taken over: by who knows that
its owner has had the number and gave it back since, or after a while by anybody who sees that the owner does not have
it (the server that made the claim died before it wrote the object). Servers remove the claims of what is given back.

Upstream: pkg/registry/core/service/allocator/storage (one bitmap per range, changed by compare-and-swap).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import orjson

from timonel.aio.clock import Clock
from timonel.objects.meta import Key
from timonel.store.base import KeyExists, KeyMissing, Record, RevisionConflict, Store, StoreError

logger = logging.getLogger(__name__)

PREFIX = "/timonel/claims/"
ABANDONED_AFTER = 90.0  # seconds: no write takes longer than a request may


class Claims:
    """`has(number, owner)` says whether the object, as this server sees it now, has the number."""

    def __init__(self, store: Store, clock: Clock, name: str, has: Callable[[int, Key], bool]) -> None:
        self._store, self._clock, self._has = store, clock, has
        self._prefix = f"{PREFIX}{name}/"
        self._given_back: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self._last_use: dict[int, int] = {}  # number -> revision at which its last owner still had it
        self._refused: dict[int, tuple[int, float]] = {}  # number -> whose claim was first met when

    async def take(self, number: int, owner: Key) -> int:
        """The revision of the claim, if the number is the owner's from now on; else 0."""
        key = f"{self._prefix}{number}"
        value = orjson.dumps({"owner": [owner.namespace, owner.name]})
        while True:
            try:
                return (await self._store.create(key, value)).modified
            except KeyExists:
                found = await self._store.get(key)
            if found is None:
                continue
            if not self._is_free(number, owner, found):
                return 0
            try:
                return (await self._store.update(key, value, expected=found.modified)).modified
            except (KeyMissing, RevisionConflict):
                continue

    def _is_free(self, number: int, owner: Key, claim: Record) -> bool:
        holder = _holder_of(claim)
        if holder == owner:
            return True
        if self._has(number, holder):
            return False
        if claim.modified <= self._last_use.get(number, 0):
            return True
        now = self._clock.monotonic()
        revision, since = self._refused.get(number, (0, now))
        if revision != claim.modified:
            self._refused[number] = (claim.modified, now)
            return False
        return now - since > ABANDONED_AFTER

    def given_back(self, number: int, revision: int) -> None:
        """Its owner had it at this revision, and has it no longer."""
        self._last_use[number] = revision
        self._given_back.put_nowait((number, revision))

    async def numbers(self) -> set[int]:
        """All that are claimed now."""
        found = (await self._store.list(self._prefix)).records
        return {int(record.key.removeprefix(self._prefix)) for record in found}

    async def run(self) -> None:
        """Remove what is given back, for as long as the server runs."""
        while True:
            number, revision = await self._given_back.get()
            try:
                found = await self._store.get(f"{self._prefix}{number}")
                if found is None or self._has(number, _holder_of(found)):
                    continue  # a write that nobody answered has happened
                if found.modified <= revision:
                    await self._store.delete(found.key, expected=found.modified)
            except StoreError as error:  # another server was faster, or it is taken over later
                logger.debug("A claim was not removed", extra={"number": number, "error": str(error)})


def _holder_of(claim: Record) -> Key:
    """Nobody's, where others have written what is no claim: it is taken over as one that was left behind."""
    try:
        namespace, name = orjson.loads(claim.value)["owner"]
    except (ValueError, TypeError, LookupError):
        return Key("", "")
    return Key(str(namespace), str(name))

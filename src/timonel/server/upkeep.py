"""What an API server does by itself: forget old history, let events expire, send bookmarks.

Upstream: apiserver/pkg/storage/etcd3/compact.go (every 5 minutes), --event-ttl.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from timonel.aio.clock import outside, upkeep
from timonel.machinery import errors
from timonel.objects.meta import Object, nested, parse_time
from timonel.server.registry import Endpoint, Stale
from timonel.server.verbs.call import Core
from timonel.store.base import Store, StoreError

logger = logging.getLogger(__name__)

COMPACT_EVERY = 300.0
BOOKMARK_EVERY = 60.0
EXPIRE_EVERY = 60.0


class Upkeep:
    def __init__(self, core: Core, store: Store, ttl: float = 0.0) -> None:
        """`ttl` of Events; 0: what their types say."""
        self._core = core
        self._store = store
        self._ttl = ttl
        self.damage = ""  # what is wrong with the store, once it has been looked through

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check())
            group.create_task(self._compact())
            group.create_task(self._bookmark())
            for endpoint in self._core.registry.by_qualified.values():
                if endpoint.work.ttl is not None:
                    group.create_task(self._expire(endpoint, self._ttl or endpoint.work.ttl))

    async def _check(self) -> None:
        if problem := await self._store.check():
            self.damage = f"the store is damaged: {problem}"
            logger.error("The store is damaged: restore it from a backup", extra={"error": problem})

    async def _compact(self) -> None:
        """What was newest five minutes ago is the oldest that can still be read."""
        last = 0
        while True:
            try:
                newest = await self._store.revision()
                if last and newest != last:
                    await self._store.compact(last)
                last = newest
            except StoreError as error:
                logger.warning("Failed to compact the store", extra={"error": str(error)})
            await upkeep(outside(self._core.clock), lazy=True).sleep(COMPACT_EVERY)

    async def _bookmark(self) -> None:
        while True:
            await upkeep(outside(self._core.clock), lazy=True).sleep(BOOKMARK_EVERY)
            self._core.registry.caches.bookmark()

    async def _expire(self, endpoint: Endpoint, ttl: float) -> None:
        clock, ends = self._core.clock, dict[str, tuple[int, float]]()
        while True:
            try:
                await self._core.registry.caches.ensure(endpoint.cache)
                await self._expire_once(endpoint, ttl, ends)
            except StoreError as error:
                logger.warning("Failed to expire objects", extra={"error": str(error)})
            await upkeep(clock, lazy=True).sleep(EXPIRE_EVERY)

    async def _expire_once(self, endpoint: Endpoint, ttl: float, ends: dict[str, tuple[int, float]]) -> None:
        """`ends` keeps, by key, the revision that was seen and when it ends by the monotonic clock: a wall clock that
        is set makes nobody older."""
        registry, clock = self._core.registry, self._core.clock
        entries = endpoint.cache.entries
        for key in ends.keys() - entries.keys():
            del ends[key]
        for key, entry in list(entries.items()):
            known = ends.get(key)
            if known is None or known[0] != entry.revision:
                age = max(0.0, clock.now() - last_seen(entry.decoded()))
                known = ends[key] = (entry.revision, clock.monotonic() + ttl - age)
            if known[1] < clock.monotonic():
                with suppress(Stale, errors.NotFound):
                    await registry.delete(endpoint, entry)


def last_seen(event: Object) -> float:
    """When an Event was last written, as far as it says so itself."""
    times = (
        nested(event, "metadata", "creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        nested(event, "series", "lastObservedTime"),
    )
    return max((parse_time(t) or 0.0) for t in times)

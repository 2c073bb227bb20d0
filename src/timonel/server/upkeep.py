"""What an API server does by itself: forget old history, let events expire, send bookmarks.

Upstream: apiserver/pkg/storage/etcd3/compact.go (every 5 minutes), --event-ttl.
"""

from __future__ import annotations

import asyncio
import logging

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
            logger.error("The store is damaged: restore it from a backup", extra={"error": problem})

    async def _compact(self) -> None:
        """What was newest five minutes ago is the oldest that can still be read."""
        last = await self._store.revision()
        while True:
            await self._core.clock.sleep(COMPACT_EVERY)
            newest = await self._store.revision()
            if newest == last:
                continue
            try:
                await self._store.compact(last)
            except StoreError as error:
                logger.warning("Failed to compact the store", extra={"error": str(error)})
            last = newest

    async def _bookmark(self) -> None:
        while True:
            await self._core.clock.sleep(BOOKMARK_EVERY)
            self._core.registry.caches.bookmark()

    async def _expire(self, endpoint: Endpoint, ttl: float) -> None:
        registry, clock = self._core.registry, self._core.clock
        await registry.caches.ensure(endpoint.cache)
        while True:
            oldest = clock.now() - ttl
            for entry in list(endpoint.cache.entries.values()):
                if last_seen(entry.decoded()) < oldest:
                    try:
                        await registry.delete(endpoint, entry)
                    except (Stale, errors.NotFound, StoreError):
                        continue
            await clock.sleep(EXPIRE_EVERY)


def last_seen(event: Object) -> float:
    """When an Event was last written, as far as it says so itself."""
    times = (
        nested(event, "metadata", "creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        nested(event, "series", "lastObservedTime"),
    )
    return max((parse_time(t) or 0.0) for t in times)

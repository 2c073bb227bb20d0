"""Keeps the index of resources that controllers work with as the server serves them: custom resources come and go."""

from __future__ import annotations

import asyncio
import logging

from timonel.aio.clock import Clock, outside
from timonel.client.discovery import ResourceIndex, discover
from timonel.client.transport import Transport, Unreachable
from timonel.machinery.errors import StatusError

logger = logging.getLogger(__name__)

SETTLE = 0.25  # seconds in which more may change: hundreds of definitions are often made together
RETRY_AFTER = 5.0


class IndexKeeper:
    """A service. Whoever knows that something has changed calls `changed`."""

    name = "discovery"

    def __init__(self, index: ResourceIndex, transport: Transport, clock: Clock) -> None:
        self._index, self._transport, self._clock = index, transport, clock
        self._is_stale = asyncio.Event()

    def changed(self) -> None:
        self._is_stale.set()

    async def run(self, ready: asyncio.Event) -> None:
        ready.set()
        while True:
            await self._is_stale.wait()
            await outside(self._clock).sleep(SETTLE)
            self._is_stale.clear()
            try:
                self._index.become(await discover(self._transport))
            except (StatusError, Unreachable) as error:
                logger.warning("Failed to ask what is served", extra={"error": str(error)})
                self._is_stale.set()
                await outside(self._clock).sleep(RETRY_AFTER)

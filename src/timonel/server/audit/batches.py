"""Events on their way to a backend that takes a while: gathered, sent together, tried again.

Upstream: apiserver/plugin/pkg/audit/buffered/buffered.go, apiserver/pkg/util/webhook (backoff).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from timonel.aio.clock import Clock, wait_until
from timonel.objects.meta import Object
from timonel.records import dataclass

logger = logging.getLogger(__name__)

ATTEMPTS = 5
BACKOFF_FACTOR = 1.5

Send = Callable[[Sequence[Object]], Awaitable[None]]


class SendFailed(Exception):
    """The backend has not taken the events; the text says why."""


@dataclass(frozen=True, slots=True)
class Batching:
    buffer_size: int = 10_000
    max_size: int = 400
    max_wait: float = 30.0  # seconds
    throttle: bool = True
    per_second: float = 10.0  # batches, and how many of them at once
    burst: int = 15
    initial_backoff: float = 10.0


class Batches:
    """`put` never waits: what does not fit is dropped and counted in `dropped`."""

    def __init__(self, settings: Batching, clock: Clock, send: Send) -> None:
        self._settings, self._clock, self._send = settings, clock, send
        self._waiting: deque[Object] = deque()
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._allowed = float(settings.burst)
        self._at = 0.0
        self.dropped = 0

    def put(self, event: Object) -> None:
        if len(self._waiting) >= self._settings.buffer_size:
            self.dropped += 1
            return
        self._waiting.append(event)
        self._some.set()
        if len(self._waiting) >= self._settings.max_size:
            self._many.set()

    async def run(self) -> None:
        """Until cancelled; what is left then is sent, once."""
        try:
            while True:
                await self._some.wait()
                await wait_until(self._clock, self._many, self._settings.max_wait)
                await self._throttled()
                await self.deliver(self._batch())
        except asyncio.CancelledError:
            while self._waiting:
                await self._once(self._batch())
            raise

    def _batch(self) -> list[Object]:
        size = min(self._settings.max_size, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(size)]
        if not self._waiting:
            self._some.clear()
        if len(self._waiting) < self._settings.max_size:
            self._many.clear()
        return batch

    async def _throttled(self) -> None:
        if not self._settings.throttle:
            return
        now = self._clock.monotonic()
        self._allowed = min(
            float(self._settings.burst), self._allowed + (now - self._at) * self._settings.per_second
        )
        self._at = now
        if self._allowed < 1:
            await self._clock.sleep((1 - self._allowed) / self._settings.per_second)
            self._allowed, self._at = 1.0, self._clock.monotonic()
        self._allowed -= 1

    async def deliver(self, batch: Sequence[Object]) -> bool:
        """Whether the backend took it, in the end."""
        backoff = self._settings.initial_backoff
        for attempt in range(ATTEMPTS):
            try:
                await self._send(batch)
                return True
            except SendFailed as error:
                logger.warning("Audit events could not be sent", extra={"error": str(error)})
                if attempt + 1 < ATTEMPTS:
                    await self._clock.sleep(backoff)
                    backoff *= BACKOFF_FACTOR
        self.dropped += len(batch)
        return False

    async def _once(self, batch: Sequence[Object]) -> None:
        try:
            await self._send(batch)
        except SendFailed as error:
            self.dropped += len(batch)
            logger.warning("Audit events are lost", extra={"count": len(batch), "error": str(error)})

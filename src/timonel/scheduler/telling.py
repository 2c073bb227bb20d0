"""Events that give way to decisions: while pods wait to be scheduled, few are sent.

Upstream's scheduler sends them at most at the rate of its client, 50 a second, and drops what does not fit its buffer;
here all of them follow once there is time, as long as there are not more than the backlog holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from timonel.aio.clock import Clock
from timonel.client.events import EventRecorder
from timonel.client.transport import Transport
from timonel.objects.meta import Object

BACKLOG = 20_000
INTERVAL = 0.02  # seconds between two of them while pods wait


class PatientRecorder(EventRecorder):
    def __init__(
        self, transport: Transport, clock: Clock, component: str, *, busy: Callable[[], bool]
    ) -> None:
        super().__init__(transport, clock, component)
        self._queue = asyncio.Queue(BACKLOG)
        self._busy = busy

    async def _send(self, event: Object) -> None:
        if self._busy():
            await self._clock.sleep(INTERVAL)
        await super()._send(event)

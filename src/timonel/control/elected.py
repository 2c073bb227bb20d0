"""A service that one of several servers runs at a time: whoever holds its Lease.

The others stand by, ready as far as whoever started them is concerned. When the Lease is lost the work is stopped, with
all that it has in flight, before anybody else may take it; then this server stands by, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from timonel.aio.lifecycle import Service
from timonel.client.events import EventRecorder
from timonel.client.leases import LeaderElection, Lost

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=Service)


class Elected(Generic[S]):
    """`make` gives the service anew for each time of office; `current` is the one that runs here, if any.

    Without an `election` there is nobody else. `recorder` sends what the election has to say.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], S],
        election: LeaderElection | None = None,
        recorder: EventRecorder | None = None,
    ) -> None:
        self.name = name
        self.current: S | None = None
        self._make, self._election, self._recorder = make, election, recorder

    async def run(self, ready: asyncio.Event) -> None:
        if self._election is None:
            await self._work(ready)
            return
        async with asyncio.TaskGroup() as group:
            if self._recorder is not None:
                group.create_task(self._recorder.run(asyncio.Event()), name=self._recorder.name)
            await self._stand(self._election, ready)

    async def _stand(self, election: LeaderElection, ready: asyncio.Event) -> None:
        while True:
            try:
                await election.lead(lambda: self._work(ready), waiting=ready.set)
            except* Lost as lost:
                logger.warning("%s stopped here: %s", self.name, lost.exceptions[0])

    async def _work(self, ready: asyncio.Event) -> None:
        self.current = self._make()
        try:
            await self.current.run(ready)
        finally:
            self.current = None

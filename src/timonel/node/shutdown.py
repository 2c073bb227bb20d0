"""The machine is going to shut down: pods end first, the less important before the others, each within its time.

    begin -> the node says so, takes no new pods -> group after group ends -> done: the machine may go down

Who tells that the machine goes down is `logind`, or whoever sends the agent SIGUSR1. The order is `shutdownplan`'s.
Upstream: pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from timonel.aio.clock import Clock
from timonel.client.events import EventRecorder
from timonel.node.shutdownplan import MESSAGE, REASON, Period, grace, groups
from timonel.objects.meta import Object

if TYPE_CHECKING:
    from timonel.node.podrunner import PodRunner

logger = logging.getLogger(__name__)

LOOK = 0.1
LAST_WORDS = 2.0  # seconds in which the pods' last statuses are sent


class Shutdown:
    """`begin` and `cancel` may be called at any time; `changed` hears that `is_under_way` is another."""

    def __init__(
        self,
        wanted: Sequence[Period],
        clock: Clock,
        records: EventRecorder,
        runners: Callable[[], Iterable[PodRunner]],
        node: Callable[[], Object],
        changed: Callable[[], None],
    ) -> None:
        self._periods = wanted
        self._clock = clock
        self._records = records
        self._runners = runners
        self._node = node
        self._changed = changed
        self._begun, self._done = asyncio.Event(), asyncio.Event()
        self.is_under_way = False
        self.started_at = self.ended_at = 0.0

    @property
    def longest(self) -> float:
        """Seconds that it may take in all; 0: nobody waits for pods."""
        return sum(period.seconds for period in self._periods)

    def begin(self) -> None:
        if not self.is_under_way and self._periods:
            self._tell("Shutdown manager detected shutdown event", is_under_way=True)
            self._done.clear()
            self._begun.set()

    def cancel(self) -> None:
        """The machine goes on. Pods that have ended stay so."""
        if self.is_under_way:
            self._tell("Shutdown manager detected shutdown cancellation", is_under_way=False)

    async def over(self) -> None:
        """Until all that had to end before the machine has."""
        if self.is_under_way:
            await self._done.wait()

    def _tell(self, message: str, *, is_under_way: bool) -> None:
        self.is_under_way = is_under_way
        self._records.record(self._node(), "Normal", "Shutdown", message)
        self._changed()

    async def run(self) -> None:
        while True:
            await self._begun.wait()
            self._begun.clear()
            self.started_at, self.ended_at = self._clock.now(), 0.0
            logger.info("The machine is going to shut down: ending pods")
            await self._end_all()
            self.ended_at = self._clock.now()
            self._done.set()

    async def _end_all(self) -> None:
        runners = {runner.uid: runner for runner in self._runners() if runner.is_syncing}
        for period, pods in groups(self._periods, (runner.pod for runner in runners.values())):
            if not self.is_under_way:
                return
            ending = [runners[pod["metadata"]["uid"]] for pod in pods]
            for runner in ending:
                self._end(runner, grace(runner.pod, period))
            await self._until_gone(ending, period.seconds)
        await self._clock.sleep(LAST_WORDS)

    @staticmethod
    def _end(runner: PodRunner, seconds: float) -> None:
        from timonel.node.podrunner import Ending

        runner.end(Ending(REASON, MESSAGE, MESSAGE, seconds))

    async def _until_gone(self, runners: Sequence[PodRunner], seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while self._clock.monotonic() < until and not all(runner.is_finished for runner in runners):
            await self._clock.sleep(LOOK)

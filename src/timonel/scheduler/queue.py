"""Which pod is scheduled next: active, backing off, or set aside until something changes that may help it.

A pod that failed is set aside with the events that its refusing plugins wait for. Such an event moves it on: to the
active pods once its back-off (1 s, doubled up to 10 s) is over. One that nothing moves is tried again after five
minutes.

Upstream: pkg/scheduler/backend/queue/scheduling_queue.go.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field
from typing import Any

from timonel.aio.clock import Clock, Timer
from timonel.scheduler.plugins.priority_sort import PrioritySort
from timonel.scheduler.podinfo import PodInfo

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0
SET_ASIDE_AT_MOST = 300.0


@dataclass(slots=True)
class Queued:
    info: PodInfo
    since: float
    attempts: int = 0
    failed_at: float = 0.0
    events: frozenset[str] = frozenset()  # that may help; empty: any
    state: str = "active"  # active, backoff, aside, gated
    timer: Timer | None = field(default=None, repr=False)

    @property
    def backoff(self) -> float:
        return (
            float(min(FIRST_BACKOFF * 2.0 ** (self.attempts - 1), LONGEST_BACKOFF)) if self.attempts else 0.0
        )


class SchedulingQueue:
    def __init__(self, clock: Clock, sort: PrioritySort) -> None:
        self._clock, self._sort = clock, sort
        self._pods: dict[str, Queued] = {}  # by uid: all that wait
        self._active: list[tuple[Any, int, str, Queued]] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, info: PodInfo) -> None:
        self._activate(Queued(info, self._clock.now()))

    def gate(self, info: PodInfo) -> None:
        """Keep, but do not look at it until it is added."""
        self._put(Queued(info, self._clock.now(), state="gated"))

    def update(self, info: PodInfo) -> None:
        """The pod changed while it waits; what it asks for may have changed with it."""
        queued = self._pods.get(info.uid)
        if queued is not None:
            queued.info = info

    def remove(self, uid: str) -> None:
        queued = self._pods.pop(uid, None)
        if queued is not None:
            self._cancel(queued)
            queued.state = "gone"

    async def pop(self) -> Queued:
        """The next pod; its caller schedules it, or puts it back with `set_aside` or `back_off`."""
        while True:
            while self._active:
                queued = heapq.heappop(self._active)[-1]
                if queued.state == "active" and self._pods.get(queued.info.uid) is queued:
                    del self._pods[queued.info.uid]
                    queued.attempts += 1
                    return queued
            self._wake.clear()
            await self._wake.wait()

    def set_aside(self, queued: Queued, events: frozenset[str]) -> None:
        queued.events, queued.state, queued.failed_at = events, "aside", self._clock.monotonic()
        self._put(queued)
        queued.timer = self._clock.call_later(SET_ASIDE_AT_MOST, lambda: self._activate(queued))

    def back_off(self, queued: Queued) -> None:
        """After an error that has nothing to do with the pod."""
        queued.failed_at = self._clock.monotonic()
        self._put(queued)
        self._wait_out(queued)

    def moved(self, event: str, uid: str = "") -> None:
        """Something happened in the cluster; `uid` where it concerns one pod alone."""
        for queued in [self._pods[uid]] if uid in self._pods else () if uid else list(self._pods.values()):
            if queued.state == "aside" and (not queued.events or event in queued.events):
                self._wait_out(queued)

    def close(self) -> None:
        for queued in self._pods.values():
            self._cancel(queued)

    def _wait_out(self, queued: Queued) -> None:
        self._cancel(queued)
        left = queued.failed_at + queued.backoff - self._clock.monotonic()
        if left <= 0:
            self._activate(queued)
        else:
            queued.state = "backoff"
            queued.timer = self._clock.call_later(left, lambda: self._activate(queued))

    def _activate(self, queued: Queued) -> None:
        self._cancel(queued)
        queued.state = "active"
        self._put(queued)
        rank = self._sort.rank(queued.info, queued.since)
        heapq.heappush(self._active, (rank, next(self._numbers), queued.info.uid, queued))
        self._wake.set()

    def _put(self, queued: Queued) -> None:
        self._pods[queued.info.uid] = queued

    @staticmethod
    def _cancel(queued: Queued) -> None:
        if queued.timer is not None:
            queued.timer.cancel()
            queued.timer = None

"""Many due times on one timer of a clock: what is due is called out in order, and a key has one due time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from timonel.aio.clock import Clock, Timer

K = TypeVar("K", bound=Hashable)


class Wheel(Generic[K]):
    """`fire` is called with each key whose time has come. Times are those of `clock.now`."""

    def __init__(self, clock: Clock, fire: Callable[[K], None]) -> None:
        self._clock, self._fire = clock, fire
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._numbers = itertools.count()
        self._timer: Timer | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, due: float | None) -> None:
        """Instead of the key's earlier time; None for never."""
        if due is None:
            self._due.pop(key, None)
            return
        if self._due.get(key) == due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._numbers), key))
        if self._timer is None or due < self._timer_at:
            self._arm()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.close()
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        if heap:
            self._timer_at = heap[0][0]
            self._timer = self._clock.call_later(self._timer_at - self._clock.now(), self._turn)

    def _turn(self) -> None:
        self._timer = None
        now, heap, due = self._clock.now(), self._heap, self._due
        while heap and heap[0][0] <= now:
            when, _, key = heapq.heappop(heap)
            if due.get(key) == when:
                del due[key]
                self._fire(key)
        self._arm()

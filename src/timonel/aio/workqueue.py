"""A queue of keys in which no key is ever processed twice at the same time.

Keys wait in lanes that take turns: who adds ten thousand keys at once fills a lane of its own, and the next key of
another lane comes second. Within a lane, first come is first served.

Upstream: client-go/util/workqueue/queue.go (dirty and processing sets), delaying_queue.go; it has one lane only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from timonel.aio.clock import Clock, Timer
from timonel.aio.histogram import Histogram

BOUNDS = tuple(10.0**exponent for exponent in range(-8, 4))  # as upstream's
K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """`add` is idempotent while a key waits; a key added while in process is queued again when it is done.

    Single-threaded: `add` is a plain call, so informer handlers need not await. One that is `measured` knows how long
    keys wait and how long they are worked on.
    """

    def __init__(
        self, clock: Clock, *, measured: bool = False, lane_of: Callable[[K], Hashable] = lambda key: None
    ) -> None:
        """`lane_of`: whose turn it must be for a key to be taken; without it there is one lane."""
        self._clock, self._lane_of = clock, lane_of
        self.waited, self.worked = Histogram(BOUNDS), Histogram(BOUNDS)  # seconds
        self._measured = measured
        self._queued: dict[K, float] = {}  # since when
        self._begun: dict[K, float] = {}
        self._lanes: OrderedDict[Hashable, deque[K]] = (
            OrderedDict()
        )  # those in which keys wait, whose turn it is first
        self._length = 0
        self._dirty: set[K] = set()  # needs processing
        self._processing: set[K] = set()  # some worker holds it
        self._delayed: dict[K, tuple[float, Timer]] = {}  # due time and timer; the earliest wins
        self._takers: deque[asyncio.Future[None]] = deque()
        self.adds = self.retries = 0  # so far: keys that were queued, and those that were put off

    def __len__(self) -> int:
        return self._length

    @property
    def at_work(self) -> int:
        return len(self._processing)

    def unfinished(self) -> Sequence[float]:
        """For how many seconds each key is worked on that is worked on now."""
        now = self._clock.monotonic()
        return [now - since for since in self._begun.values()]

    def add(self, key: K) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        self.adds += 1
        if self._measured:
            self._queued[key] = self._clock.monotonic()
        if key not in self._processing:
            self._offer(key)

    def add_after(self, key: K, delay: float) -> None:
        """Add after `delay` seconds; an earlier pending delay for the key stands, a later one is replaced."""
        if delay <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + delay
        pending = self._delayed.get(key)
        if pending is not None:
            if pending[0] <= due:
                return
            pending[1].cancel()
        self.retries += 1
        self._delayed[key] = (due, self._clock.call_later(delay, lambda: self._fire(key)))

    def _fire(self, key: K) -> None:
        self._delayed.pop(key, None)
        self.add(key)

    def _offer(self, key: K) -> None:
        lane = self._lane_of(key)
        self._lanes.setdefault(lane, deque()).append(key)
        self._length += 1
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                break

    @asynccontextmanager
    async def take(self) -> AsyncIterator[K]:
        """Hold the next key for the length of the block."""
        while not self._lanes:
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if self._lanes and taker.done() and not taker.cancelled():
                    self._pass_on()
                raise
        key = self._next()
        self._processing.add(key)
        self._dirty.discard(key)
        if self._measured:
            self._begun[key] = now = self._clock.monotonic()
            self.waited.add(now - self._queued.pop(key, now))
        try:
            yield key
        finally:
            if self._measured:
                self.worked.add(self._clock.monotonic() - self._begun.pop(key))
            self._processing.discard(key)
            if key in self._dirty:
                self._offer(key)

    def _next(self) -> K:
        lane, waiting = self._lanes.popitem(last=False)
        key = waiting.popleft()
        if waiting:
            self._lanes[lane] = waiting  # behind all others
        self._length -= 1
        return key

    def _pass_on(self) -> None:
        """A taker was cancelled after it was woken: wake another one in its place."""
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    def close(self) -> None:
        """Cancel pending timers; the owner calls this when its workers have stopped."""
        for _, timer in self._delayed.values():
            timer.cancel()
        self._delayed.clear()

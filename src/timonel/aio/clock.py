"""Time as an argument. Nothing outside `timonel.aio` reads the wall clock or sleeps by itself.

Every component is handed a `Clock`. `SystemClock` follows the machine; `VirtualClock` stands still until it is
advanced, and then wakes its sleepers in order of their deadlines, letting everything settle between two of them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

# For measuring how long something took, and nothing else: no decision may rest on it.
stopwatch: Callable[[], float] = time.perf_counter


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some start; never goes back when the wall clock is set."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less yields to the loop once."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in the event loop after `seconds`, unless the timer is cancelled first."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(seconds, 0), callback)


class WallClock:
    """For code outside any event loop that only measures how long something took."""

    def monotonic(self) -> float:
        return time.monotonic()


class _VirtualTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _Heap:
    """Timers by when they are due, those of one moment in the order in which they were set."""

    def __init__(self) -> None:
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._numbers = itertools.count()

    def add(self, due: float, callback: Callable[[], None]) -> _VirtualTimer:
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (due, next(self._numbers), timer))
        return timer

    def due(self) -> float:
        """When the next one is; infinity where there is none."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return timers[0][0] if timers else math.inf

    def pop(self) -> Callable[[], None]:
        """The next one, of which `due` has just told."""
        callback = heapq.heappop(self._timers)[2].callback
        assert callback is not None
        return callback


class MovingAlready(RuntimeError):
    """Only one turns a clock at a time."""


class VirtualClock:
    """A clock that only `advance` moves.

    Time stops wherever something is due, and does not go on before all that follows from it is done: the loop has come
    to rest and nothing is `working`. What merely keeps things alive (see `upkeep`) is done before anything else that
    happens at a moment, but time stops for that alone at most `UPKEEP_STOPS` times on a way.

    Who watches whether others live is in time for who does not: after anything has happened, time stops for watchers
    for as long as any of them waits. By then it has shown who lives, and until time stops for something else nobody
    dies.

    `outside` is the time of those who do not live on this clock, such as clients on the network. `moved` hears each
    moment at which time stops, before anything happens there.
    """

    UPKEEP_STOPS = 100
    LAZY_EVERY = 3600.0  # seconds, at the most often, where time stops for something else
    QUIET_TURNS = 50  # of the loop in a row in which nothing is at work, after which nothing more is expected

    def __init__(
        self,
        start: float = 1_700_000_000.0,
        *,
        outside: Clock | None = None,
        moved: Callable[[float], None] = lambda now: None,
    ) -> None:
        self._now = start
        self._start = start
        self._moved = moved
        self._timers = _Heap()
        self._keeping, self._watching, self._lazy = _Heap(), _Heap(), _Heap()
        self._longest_watch = 0.0  # seconds that a watcher waits
        self._at_work = 0
        self._idle = asyncio.Event()
        self._moving = self._halted = False
        self.outside = outside

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    @property
    def is_moving(self) -> bool:
        return self._moving

    async def sleep(self, seconds: float) -> None:
        await _sleep(self, seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._timers.add(self._now + max(seconds, 0), callback)

    def call_for_upkeep(
        self, seconds: float, callback: Callable[[], None], *, watches: bool, lazy: bool
    ) -> Timer:
        if watches:
            self._longest_watch = max(self._longest_watch, seconds)
        heap = self._lazy if lazy else self._watching if watches else self._keeping
        return heap.add(self._now + max(seconds, 0), callback)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Time stands still meanwhile: for what the loop cannot show, such as a thread that writes to a disk."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._idle.set()

    async def advance(self, seconds: float, *, settle: int = QUIET_TURNS) -> None:
        """Move time forward, firing what falls due on the way; `settle` quiet loop turns follow each."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"time does not go back, nor on for ever: {seconds}")
        if self._moving:
            raise MovingAlready("the clock is being advanced already")
        self._moving, self._halted = True, False
        try:
            await self._advance(self._now + seconds, seconds / self.UPKEEP_STOPS, settle)
        finally:
            self._moving = False

    def halt(self) -> None:
        """Whoever advances it gets no further than where time stops next, or stands."""
        self._halted = True

    async def _advance(self, target: float, grain: float, settle: int) -> None:
        await self._settle(settle)
        stops_at = cleared_at = self._now  # the next time for upkeep alone, and for what is lazy
        happened = self._now  # the last time that anything did, as far as is known
        while not self._halted:
            upkeep_at = max(min(self._keeping.due(), self._watching.due(), self._lazy.due()), stops_at)
            if self._watching.due() <= happened + self._longest_watch:
                upkeep_at = min(upkeep_at, self._watching.due())
            stop = min(self._timers.due(), upkeep_at)
            if stop > target:
                break
            self._go_on_to(stop)
            if self._now >= stops_at:
                stops_at = self._now + grain
            lazy = self._now >= cleared_at
            if lazy:
                cleared_at = self._now + min(grain, self.LAZY_EVERY)
            await self._keep_up(settle, lazy=lazy)
            while self._timers.due() <= self._now:
                happened = self._now
                _call(self._timers.pop())
                await self._settle(settle)
        if not self._halted:
            self._go_on_to(target)
            await self._keep_up(settle, lazy=True)
        await self._settle(settle)

    def _go_on_to(self, moment: float) -> None:
        if moment > self._now:
            self._now = moment
            self._moved(moment)

    async def _keep_up(self, settle: int, *, lazy: bool) -> None:
        """First what keeps things alive, then what watches whether they are, then what nobody waits for."""
        await self._fire(self._keeping, settle)
        await self._fire(self._watching, settle)
        if lazy:
            await self._fire(self._lazy, settle)

    async def _fire(self, heap: _Heap, settle: int) -> None:
        found = False
        while heap.due() <= self._now:
            _call(heap.pop())
            found = True
        if found:
            await self._settle(settle)

    async def _settle(self, turns: int) -> None:
        quiet = 0
        while quiet < turns:
            if self._at_work:
                self._idle.clear()
                await self._idle.wait()
                quiet = 0
            await asyncio.sleep(0)
            quiet += 1


def _call(callback: Callable[[], None]) -> None:
    """As a loop does with its own timers: one that fails is told of, and stops no other."""
    try:
        callback()
    except Exception as error:
        message = f"Exception in the callback of a timer: {callback!r}"
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


async def _sleep(clock: Clock, seconds: float) -> None:
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    done = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    timer = clock.call_later(seconds, wake)
    try:
        await done
    finally:
        timer.cancel()


class _Upkeep:
    """A virtual clock as those see it whose timers need not be exact when time makes a leap."""

    def __init__(self, clock: VirtualClock, *, watches: bool, lazy: bool) -> None:
        self._clock, self._watches, self._lazy = clock, watches, lazy
        self.outside = clock.outside

    def now(self) -> float:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await _sleep(self, seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_for_upkeep(seconds, callback, watches=self._watches, lazy=self._lazy)


def upkeep(clock: Clock, *, watches: bool = False, lazy: bool = False) -> Clock:
    """The clock for what comes again and again to keep things alive (heartbeats, renewals), or `watches` that they are.

    `lazy` is what nobody waits for, such as clearing up: it need not be done before other things at their time.
    The same clock, unless it is virtual: there a year of heartbeats is some hundred, and those who watch for them come
    after them.
    """
    return _Upkeep(clock, watches=watches, lazy=lazy) if isinstance(clock, VirtualClock) else clock


def outside(clock: Clock) -> Clock:
    """The clock of the world around: for connections, timeouts of requests, and whoever else lives in real time."""
    found: Clock | None = getattr(clock, "outside", None)
    return found if found is not None else clock


def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()


async def wait_until(clock: Clock, event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event`, at most `seconds` of `clock`; whether it was set."""
    waiter: asyncio.Task[object] = asyncio.ensure_future(event.wait())
    timer = clock.call_later(seconds, lambda: _cancel(waiter))
    try:
        await waiter
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return event.is_set()
    else:
        return True
    finally:
        timer.cancel()
        waiter.cancel()


@asynccontextmanager
async def deadline(clock: Clock, seconds: float) -> AsyncIterator[None]:
    """Cancel the block after `seconds` of `clock`, and raise TimeoutError in its place."""
    task = asyncio.current_task()
    assert task is not None
    is_over = False

    def expire() -> None:
        nonlocal is_over
        is_over = True
        task.cancel()

    timer = clock.call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError as exc:
        if is_over and task.uncancel() == 0:
            raise TimeoutError from exc
        raise
    finally:
        timer.cancel()

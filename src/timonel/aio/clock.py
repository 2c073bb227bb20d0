"""Time as an argument. Nothing outside `timonel.aio` reads the wall clock or sleeps by itself.

Every component is handed a `Clock`. `SystemClock` follows the machine; `VirtualClock` stands still until it is
advanced, and then wakes its sleepers in order of their deadlines, letting the loop settle between two of them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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


class VirtualClock:
    """A clock that only `advance` moves."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._start = start
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await done
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (self._now + max(seconds, 0), next(self._numbers), timer))
        return timer

    async def advance(self, seconds: float, *, settle: int = 50) -> None:
        """Move time forward, firing what falls due on the way; `settle` loop turns follow each."""
        target = self._now + seconds
        await self._settle(settle)
        while self._timers and self._timers[0][0] <= target:
            due, _, timer = heapq.heappop(self._timers)
            if timer.callback is None:
                continue
            self._now = max(self._now, due)
            timer.callback()
            await self._settle(settle)
        self._now = target
        await self._settle(settle)

    @staticmethod
    async def _settle(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)


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

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import SystemClock, VirtualClock, outside, upkeep

DAY = 86_400.0


@given(st.lists(st.floats(0, 1000), max_size=20), st.floats(0, 1000))
async def test_timers_fire_in_order_at_their_time(delays: list[float], end: float) -> None:
    clock = VirtualClock(0.0)
    fired: list[float] = []
    for delay in delays:
        clock.call_later(delay, lambda: fired.append(clock.now()))

    await clock.advance(end, settle=1)

    assert fired == sorted(delay for delay in delays if delay <= end)
    assert clock.now() == end


async def test_what_a_timer_sets_off_is_done_before_time_goes_on() -> None:
    clock = VirtualClock(0.0)
    seen: list[tuple[str, float]] = []

    async def chain() -> None:
        await clock.sleep(10)
        for _ in range(20):
            await asyncio.sleep(0)
        seen.append(("slow", clock.now()))
        await clock.sleep(5)
        seen.append(("after", clock.now()))

    async with asyncio.TaskGroup() as group:
        group.create_task(chain())
        clock.call_later(11, lambda: seen.append(("next", clock.now())))
        await clock.advance(20)

    assert seen == [("slow", 10), ("next", 11), ("after", 15)]


async def test_time_stands_still_while_something_is_at_work() -> None:
    clock, release = VirtualClock(0.0), asyncio.Event()
    seen: list[float] = []

    async def work() -> None:
        await clock.sleep(1)
        with clock.working():
            await release.wait()
            seen.append(clock.now())

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        advance = group.create_task(clock.advance(100))
        await asyncio.sleep(1)
        assert clock.now() == 1
        release.set()
        await advance

    assert seen == [1]
    assert clock.now() == 100


async def test_a_cancelled_timer_stops_nobody() -> None:
    clock = VirtualClock(0.0)
    clock.call_later(5, lambda: pytest.fail("it was cancelled")).cancel()

    await clock.advance(10)


async def test_only_one_turns_the_clock() -> None:
    clock = VirtualClock(0.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(clock.advance(10))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already"):
            await clock.advance(5)


class Beating:
    """Somebody who renews a lease again and again, and somebody who watches whether it lapses."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.calm, self.watching = clock, upkeep(clock), upkeep(clock, watches=True)
        self.renewed = clock.now()
        self.beats = self.lapses = 0
        self.calm.call_later(10, self._beat)
        self.watching.call_later(40, self._look)

    def _beat(self) -> None:
        self.renewed, self.beats = self.clock.now(), self.beats + 1
        self.calm.call_later(10, self._beat)

    def _look(self) -> None:
        self.lapses += self.clock.now() - self.renewed > 40
        self.watching.call_later(40, self._look)


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(60, 6, 6), (3600, 95, 103), (DAY, 95, 103), (365 * DAY, 95, 103)]
)
async def test_on_a_long_way_upkeep_is_done_less_often_and_nothing_lapses(
    seconds: float, least: int, most: int
) -> None:
    clock = VirtualClock(0.0)
    beating = Beating(clock)

    await clock.advance(seconds, settle=2)

    assert least <= beating.beats <= most
    assert not beating.lapses


async def test_upkeep_that_is_due_comes_before_what_happens_then() -> None:
    clock = VirtualClock(0.0)
    beating = Beating(clock)
    ages: list[float] = []
    for day in range(1, 11):
        clock.call_later(day * DAY, lambda: ages.append(clock.now() - beating.renewed))

    await clock.advance(10 * DAY, settle=2)

    assert ages == [0.0] * 10


@pytest.mark.parametrize("way", [3600.0, DAY, 365 * DAY])
@pytest.mark.parametrize("dies_at", [0.0, 5.0, 1234.5, 3000.0])
async def test_who_stops_showing_life_is_missed_in_time_however_long_the_way(
    way: float, dies_at: float
) -> None:
    clock = VirtualClock(0.0)
    alive, calm, watching = Beating(clock), upkeep(clock), upkeep(clock, watches=True)
    dead, last, missed = False, 0.0, list[float]()

    def beat() -> None:
        nonlocal last
        if not dead:
            last = clock.now()
            calm.call_later(10, beat)

    def look() -> None:
        left = last + 40 - clock.now()
        if left > 0:
            watching.call_later(left, look)
        else:
            missed.append(clock.now())

    def die() -> None:
        nonlocal dead
        dead = True

    beat()
    look()
    clock.call_later(dies_at, die)
    await clock.advance(way, settle=2)

    assert missed == [last + 40]
    assert dies_at - 36 <= last <= dies_at  # an hour's way is kept up every 36 s
    assert not alive.lapses


async def test_each_moment_at_which_time_stops_is_told_before_anything_happens_there() -> None:
    seen: list[tuple[str, float]] = []
    clock = VirtualClock(0.0, moved=lambda now: seen.append(("moved", now)))
    clock.call_later(3, lambda: seen.append(("fired", clock.now())))

    await clock.advance(5)

    assert seen == [("moved", 3), ("fired", 3), ("moved", 5)]


async def test_who_halts_it_finds_it_where_it_stopped_and_what_was_due_later_is_still_due() -> None:
    clock, fired = VirtualClock(0.0), list[float]()
    clock.call_later(3, clock.halt)
    clock.call_later(7, lambda: fired.append(clock.now()))

    await clock.advance(10)
    assert (clock.now(), fired) == (3, [])

    await clock.advance(10)
    assert (clock.now(), fired) == (13, [7])


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
async def test_time_goes_neither_back_nor_on_for_ever(seconds: float) -> None:
    clock = VirtualClock(100.0)

    with pytest.raises(ValueError, match="time does not go back"):
        await clock.advance(seconds)

    assert clock.now() == 100


def test_real_time_has_no_upkeep_and_nothing_outside() -> None:
    clock = SystemClock()

    assert upkeep(clock) is clock
    assert outside(clock) is clock
    assert outside(VirtualClock(outside=clock)) is clock
    assert outside(upkeep(VirtualClock(outside=clock))) is clock

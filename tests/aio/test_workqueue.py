"""What a queue knows of itself; the rest is tested where it is used."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import VirtualClock
from timonel.aio.workqueue import WorkQueue


async def test_a_measured_queue_knows_how_long_keys_wait_and_are_worked_on() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock, measured=True)
    queue.add("a")
    await clock.advance(2)
    async with queue.take():
        await clock.advance(5)
        under_way = queue.unfinished()

    assert list(under_way) == [5]
    assert (queue.waited.count, queue.waited.sum) == (1, 2)
    assert (queue.worked.count, queue.worked.sum) == (1, 5)
    assert queue.unfinished() == []


async def test_other_queues_measure_nothing() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    queue.add("a")
    async with queue.take():
        pass

    assert (queue.waited.count, queue.worked.count) == (0, 0)


async def test_lanes_take_turns() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock(), lane_of=lambda key: key[0])
    for key in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
        queue.add(key)
    taken: list[str] = []
    while len(queue):
        async with queue.take() as key:
            taken.append(key)
            if key == "b1":
                queue.add("d1")

    assert taken == ["a1", "b1", "c1", "a2", "b2", "d1", "a3", "a4"]


@given(keys=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5))))
def test_every_key_is_taken_once_and_in_the_order_of_its_lane(keys: list[tuple[str, int]]) -> None:
    async def taken() -> list[tuple[str, int]]:
        queue: WorkQueue[tuple[str, int]] = WorkQueue(VirtualClock(), lane_of=lambda key: key[0])
        for key in keys:
            queue.add(key)
        found: list[tuple[str, int]] = []
        while len(queue):
            async with queue.take() as key:
                found.append(key)
        return found

    found, once = asyncio.run(taken()), list(dict.fromkeys(keys))

    assert sorted(found) == sorted(once)
    for lane in "abc":
        assert [k for k in found if k[0] == lane] == [k for k in once if k[0] == lane]

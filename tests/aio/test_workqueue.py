"""What a queue knows of itself; the rest is tested where it is used."""

from __future__ import annotations

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

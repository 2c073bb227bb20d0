"""The queue: active, backing off, set aside, held."""

from __future__ import annotations

import asyncio

import pytest

from tests.scheduler.test_cycle import pod
from timonel.aio.clock import SystemClock
from timonel.scheduler.plugins.priority_sort import PrioritySort
from timonel.scheduler.podinfo import PodInfo, pod_info
from timonel.scheduler.queue import Queued, SchedulingQueue


@pytest.fixture
def queue() -> SchedulingQueue:
    return SchedulingQueue(SystemClock(), PrioritySort().rank)


def info(name: str, priority: int = 0) -> PodInfo:
    return pod_info(pod(name, priority=priority))


def always(queued: Queued) -> bool:
    return True


async def popped(queue: SchedulingQueue, within: float = 0.1) -> str:
    """The next pod's name; empty where none comes in time."""
    try:
        async with asyncio.timeout(within):
            return (await queue.pop()).info.key.name
    except TimeoutError:
        return ""


async def test_the_higher_priority_first_then_the_one_that_waits_longer(queue: SchedulingQueue) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 5)):
        queue.add(info(name, priority))
        await asyncio.sleep(1)

    assert [await popped(queue) for _ in range(3)] == ["b", "c", "a"]


async def test_a_pod_set_aside_waits_for_what_helps_it(queue: SchedulingQueue) -> None:
    queue.add(info("a"))
    queue.set_aside(await queue.pop(), {"NodeName"})
    queue.moved(lambda queued: "NodePorts" in queued.plugins)
    assert await popped(queue) == ""

    queue.moved(lambda queued: "NodeName" in queued.plugins)

    assert await popped(queue) == "a"


async def test_back_off_is_cut_short_while_nobody_else_waits(queue: SchedulingQueue) -> None:
    for name in "ab":
        queue.add(info(name))
    queue.set_aside(await queue.pop(), {"X"})
    queue.moved(always)
    assert queue.counts()["backoff"] == 1

    assert [await popped(queue), await popped(queue)] == ["b", "a"]


async def test_after_an_error_back_off_is_waited_out_and_grows(queue: SchedulingQueue) -> None:
    queue.add(info("a"))
    queue.back_off(await queue.pop())
    assert await popped(queue, 0.9) == ""
    queue.back_off(await queue.pop())
    assert await popped(queue, 1.9) == ""

    assert await popped(queue, 0.2) == "a"


async def test_what_nothing_moves_is_tried_again_after_five_minutes(queue: SchedulingQueue) -> None:
    queue.add(info("a"))
    queue.set_aside(await queue.pop(), {"X"})

    assert await popped(queue, 299) == ""
    assert await popped(queue, 2) == "a"


async def test_what_happens_while_a_pod_is_held_counts_once_it_is_let_go(queue: SchedulingQueue) -> None:
    queue.add(info("a"))
    queue.hold(await queue.pop(), {"X"})
    queue.moved(always)
    assert await popped(queue) == ""

    queue.let_go("a")

    assert await popped(queue) == "a"


async def test_a_pod_that_is_gone_is_not_tried(queue: SchedulingQueue) -> None:
    for name in "abc":
        queue.add(info(name))
    queue.set_aside(await queue.pop(), {"X"})
    for name in "ab":
        queue.remove(name)
    queue.moved(always)

    assert [await popped(queue), await popped(queue)] == ["c", ""]
    assert len(queue) == 0

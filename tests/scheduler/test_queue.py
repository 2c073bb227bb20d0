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


async def test_each_kind_of_failure_has_its_own_back_off(queue: SchedulingQueue) -> None:
    """Errors double the wait after errors, refusals that after refusals; neither counts for the other."""
    queue.add(pod_info(pod("p")))
    for _ in range(3):
        queue.back_off(await queue.pop())
        await asyncio.sleep(20)
    refused = await queue.pop()
    queue.set_aside(refused, ["Fit"])
    assert (refused.attempts, refused.refusals, refused.failures) == (4, 1, 0)
    queue.add(pod_info(pod("other")))  # so that back-off is not cut short
    queue.moved(lambda queued: True, event="NodeAdd")
    assert queue.counts()["backoff"] == 1
    await asyncio.sleep(1.1)

    assert queue.counts() == {"active": 2, "backoff": 0, "unschedulable": 0, "gated": 0}


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (9, 10)])
async def test_back_off_doubles_up_to_ten_seconds(
    queue: SchedulingQueue, attempts: int, seconds: float
) -> None:
    queue.add(pod_info(pod("p")))
    for number in range(attempts):
        queued = await queue.pop()
        queue.set_aside(queued, ["Fit"])
        if number < attempts - 1:
            queue.activate(queued.info.uid)
    queue.add(pod_info(pod("other")))
    queue.moved(lambda queued: True)
    await asyncio.sleep(seconds - 0.01)
    assert queue.counts()["backoff"] == 1
    await asyncio.sleep(0.02)
    assert queue.counts()["backoff"] == 0


def gates(info: PodInfo) -> str:
    return "SchedulingGates" if info.spec.get("schedulingGates") else ""


async def test_what_brings_pods_where_is_counted() -> None:
    queue = SchedulingQueue(SystemClock(), PrioritySort().rank, gated_by=gates)
    queue.add(pod_info(pod("gated", schedulingGates=[{"name": "example.com/wait"}])))
    queue.add(pod_info(pod("p")))
    queue.set_aside(await queue.pop(), ["Fit"])
    queue.moved(lambda queued: True, event="AssignedPodDelete")
    queue.set_aside(await queue.pop(), ["Fit"])
    await asyncio.sleep(301)
    queued = await queue.pop()
    assert queued.was_flushed
    queue.back_off(queued)
    await asyncio.sleep(2)
    await queue.pop()

    assert queue.incoming == {
        ("unschedulable", "UnscheduledPodAdd"): 1,
        ("active", "UnscheduledPodAdd"): 1,
        ("unschedulable", "ScheduleAttemptFailure"): 2,
        ("backoff", "AssignedPodDelete"): 1,
        ("active", "PopFromBackoffQ"): 1,
        ("active", "UnschedulableTimeout"): 1,
        ("backoff", "ScheduleAttemptFailure"): 1,
        ("active", "BackoffComplete"): 1,
    }


async def test_a_pod_that_was_held_waits_from_when_it_was_refused(queue: SchedulingQueue) -> None:
    queue.add(pod_info(pod("p")))
    queued = await queue.pop()
    queue.hold(queued, ["Fit"])
    queue.moved(lambda queued: True)
    await asyncio.sleep(5)
    queue.let_go(queued.info.uid)

    assert queue.counts()["active"] == 1  # its back-off was over by then


async def test_who_is_kept_out_is_asked_about_again_when_that_plugins_events_happen() -> None:
    kept_out = {"a", "b"}
    queue = SchedulingQueue(
        SystemClock(), PrioritySort().rank, gated_by=lambda info: "Quota" if info.key.name in kept_out else ""
    )
    for name in ("a", "b", "c"):
        queue.add(info(name))
    assert queue.counts()["gated"] == 2
    kept_out.remove("a")
    queue.moved(always, event="NodeAdd", interested=["Fit"])
    assert queue.counts()["gated"] == 2
    queue.moved(always, event="NodeAdd", interested=["Quota"])
    assert queue.counts() == {"active": 2, "backoff": 0, "unschedulable": 0, "gated": 1}

    kept_out.clear()
    queue.update(info("b"))
    assert queue.counts()["active"] == 3


async def test_a_pod_may_be_kept_out_after_it_was_tried() -> None:
    kept_out: set[str] = set()
    queue = SchedulingQueue(
        SystemClock(), PrioritySort().rank, gated_by=lambda info: "Quota" if info.key.name in kept_out else ""
    )
    queue.add(info("p"))
    queue.set_aside(await queue.pop(), ["Fit"])
    kept_out.add("p")
    await asyncio.sleep(2)
    queue.moved(always)
    assert queue.counts() == {"active": 0, "backoff": 0, "unschedulable": 0, "gated": 1}
    queue.remove(info("p").uid)

    assert not queue.counts()["gated"]

"""A wall clock that is set while everything runs: leases, heartbeats, back-offs and schedules get over it."""

from __future__ import annotations

import asyncio

import pytest

from tests.controllers.test_cronjob import KEY, NOON, RESOURCE, cronjob, names, world
from tests.controllers.test_nodes import LEASES, lease, the_node
from tests.controllers.world import START, World, node
from timonel.aio.clock import SystemClock
from timonel.aio.workqueue import WorkQueue
from timonel.client.discovery import builtin
from timonel.client.fake import MemoryTransport
from timonel.client.informer import InformerFactory, Lister
from timonel.client.leases import LeaderElection
from timonel.control.actions import Record
from timonel.controllers.cronjob import CRONJOB
from timonel.controllers.node_lifecycle import NODE_LIFECYCLE
from timonel.node import backoff
from timonel.objects import nodes
from timonel.objects.meta import Key

HOUR = 3600.0


class SetClock(SystemClock):
    """The loop's time, whose wall clock can be set."""

    def __init__(self) -> None:
        self.ahead = 1_700_000_000.0

    def now(self) -> float:
        return self.monotonic() + self.ahead


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_leader_stays_the_leader(jump: float) -> None:
    clock = SetClock()
    cluster = MemoryTransport(clock)
    leading: list[str] = []

    async def lead(name: str) -> None:
        async def work() -> None:
            leading.append(name)
            await asyncio.Event().wait()

        own = LeaderElection(
            cluster, clock, lease=Key("kube-system", "scheduler"), identity=name, jitter=lambda: 0.0
        )
        await own.lead(work)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(lead(name)) for name in ("first", "second")]
        await asyncio.sleep(5)
        clock.ahead += jump
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()

    assert leading == ["first"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_queue_waits_as_long_as_it_was_told(jump: float) -> None:
    clock = SetClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("key", 10)
    clock.ahead += jump
    begun = clock.monotonic()

    async with queue.take() as key:
        assert key == "key"

    assert clock.monotonic() - begun == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_cache_knows_since_when_its_clock_runs_evenly(jump: float) -> None:
    clock = SetClock()
    cache = Lister(InformerFactory(MemoryTransport(clock), clock, builtin()), clock, [])
    begun = cache.steady_since()
    await asyncio.sleep(100)
    assert cache.steady_since() == begun

    clock.ahead += jump

    assert cache.steady_since() == pytest.approx(clock.now())
    await asyncio.sleep(100)
    assert cache.steady_since() == pytest.approx(clock.now() - 100, abs=0.1)


def test_nodes_do_not_fall_silent_because_the_clock_was_set() -> None:
    world = World(("nodes", node("n1")), (LEASES, lease("n1", START)))
    world.time = world.steady = START + HOUR

    plan = NODE_LIFECYCLE.reconcile(the_node(world), NODE_LIFECYCLE.observe(the_node(world), world))

    assert all(isinstance(action, Record) for action in plan.actions)
    assert plan.requeue_after == 50
    world.time += 51  # it has really said nothing since
    world.settle(NODE_LIFECYCLE)
    assert not nodes.is_ready(the_node(world))


def test_a_container_is_restarted_although_it_ended_in_the_future() -> None:
    entry = backoff.Backoff(160.0, updated=START + HOUR - 200)

    assert backoff.waits_until(entry, START + HOUR, START + HOUR + 10) == START + HOUR + 160
    assert backoff.waits_until(entry, START + HOUR, START) is None
    assert backoff.advance(entry, START + HOUR, START).delay == 300.0


def test_a_schedule_makes_up_for_one_run_after_a_jump() -> None:
    w = world(cronjob("*/5 * * * *", created=NOON), now=NOON + 301)
    w.settle(CRONJOB)
    assert len(names(w)) == 1

    w.time += 30 * 24 * HOUR
    w.settle(CRONJOB)

    assert len(names(w)) == 2
    assert "TooManyMissedTimes" in [reason for _, reason, _ in w.events]


def test_a_schedule_runs_nothing_twice_when_the_clock_goes_back() -> None:
    w = world(cronjob("*/5 * * * *", created=NOON), now=NOON + 601)
    w.settle(CRONJOB)
    ran = names(w)

    w.time -= 400
    w.settle(CRONJOB)
    assert names(w) == ran
    w.time += 400
    w.settle(CRONJOB)

    assert names(w) == ran
    assert w.get(RESOURCE, KEY) is not None

"""Who must go for a pod of higher priority, and that they do go, whatever the API answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.test_cycle import node, pod
from tests.scheduler.test_shell import NODES, PODS, P, cluster, scheduling
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource, Unreachable
from timonel.machinery.errors import Conflict, InternalError, NotFound, TooManyRequests
from timonel.objects.meta import Key, Object
from timonel.scheduler.budgets import Budgets
from timonel.scheduler.podinfo import PodInfo, pod_info
from timonel.scheduler.preemption import Candidate, Room, by_importance, cheapest, victims_on

__all__ = ["cluster"]


def running(name: str, cpu: int, priority: int, started: str = "", app: str = "") -> PodInfo:
    obj = pod(name, cpu=str(cpu), priority=priority)
    obj["metadata"]["labels"] = {"app": app} if app else {}
    if started:
        obj["status"] = {"startTime": started}
    return pod_info(obj)


def budget(app: str, allowed: int) -> Object:
    return {
        "metadata": {"name": app, "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"app": app}}},
        "status": {"disruptionsAllowed": allowed},
    }


def names(pods: Sequence[PodInfo]) -> list[str]:
    return [info.key.name for info in pods]


@pytest.mark.parametrize(
    ("there", "budgets", "expected"),
    [
        ([("a", 2, 100), ("b", 2, 10)], [], ["b"]),
        ([("a", 1, 10), ("b", 3, 10)], [], ["b"]),
        ([("a", 2, 10, "2026-01-01T00:00:00Z"), ("b", 2, 10, "2026-01-02T00:00:00Z")], [], ["b"]),
        ([("a", 2, 10, "", "x"), ("b", 2, 100)], [budget("x", 0)], ["b"]),
        ([("a", 2, 10, "", "x"), ("b", 2, 100)], [budget("x", 1)], ["a"]),
    ],
)
def test_the_least_important_go(there: list[Any], budgets: list[Object], expected: list[str]) -> None:
    pods = [running(*p) for p in there]

    found = victims_on(0, pods, Room({"cpu": 0}, {"cpu": 2000}, 0), Budgets(budgets))

    assert found is not None
    assert names(found.victims) == expected


def test_a_pod_too_large_for_an_empty_node_finds_no_victims() -> None:
    room = Room({"cpu": 0}, {"cpu": 9000}, 5)

    assert victims_on(0, [running("a", 4, 1)], room, Budgets([])) is None


pods_there = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(pods_there, st.integers(1, 12), st.integers(0, 2))
def test_no_victim_could_have_stayed(there: list[tuple[int, int, bool]], asked: int, allowed: int) -> None:
    pods = [running(f"p{n}", cpu, prio, app="x" if kept else "") for n, (cpu, prio, kept) in enumerate(there)]
    room = Room({"cpu": 0}, {"cpu": asked * 1000}, 0)

    found = victims_on(0, pods, room, Budgets([budget("x", allowed)]))

    if found is None:
        assert sum(cpu for cpu, _, _ in there) < asked
        return
    assert room.fits()
    for victim in found.victims:
        room.add(victim)
        assert not room.fits()
        room.remove(victim)
    assert names(found.victims) == names(by_importance(found.victims[::-1]))


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        (([("a", 1, 5)], 1), ([("b", 1, 50)], 0), 1),  # fewer broken budgets
        (([("a", 1, 5)], 0), ([("b", 1, 50)], 0), 0),  # the lower highest priority
        (([("a", 1, 5), ("c", 1, 5)], 0), ([("b", 1, 5), ("d", 1, 1)], 0), 1),  # the lower sum
        (([("a", 1, 5), ("c", 1, 5)], 0), ([("b", 1, 5)], 0), 1),  # fewer
        (
            ([("a", 1, 5, "2026-01-01T00:00:00Z")], 0),
            ([("b", 1, 5, "2026-01-02T00:00:00Z")], 0),
            1,
        ),  # younger
        (([("a", 1, 5)], 0), ([("b", 1, 5)], 0), 0),
    ],
)
def test_the_cheapest_node(first: Any, second: Any, best: int) -> None:
    candidates = [
        Candidate.of(row, [running(*p) for p in pods], n) for row, (pods, n) in enumerate((first, second))
    ]

    assert cheapest(candidates).row == best


# ---- the service


async def full(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1", cpu="2"))
    for name in ("a", "b"):
        await cluster.create(PODS, pod(name, cpu="1", nodeName="n1", priority=1))


async def test_victims_go_and_the_pod_gets_their_place(cluster: MemoryTransport) -> None:
    await full(cluster)
    async with scheduling(cluster):
        await cluster.create(PODS, pod(cpu="2", priority=5))
        await asyncio.sleep(5)

        assert (await cluster.get(PODS, P))["spec"].get("nodeName") == "n1"
    assert len((await cluster.list(PODS)).items) == 1


async def test_who_may_not_preempt_waits(cluster: MemoryTransport) -> None:
    await full(cluster)
    async with scheduling(cluster):
        await cluster.create(PODS, pod(cpu="2", priority=5, preemptionPolicy="Never"))
        await asyncio.sleep(5)

        assert "nodeName" not in (await cluster.get(PODS, P))["spec"]
    assert len((await cluster.list(PODS)).items) == 3


@pytest.mark.parametrize("seed", range(8))
async def test_faults_only_delay_what_must_happen(cluster: MemoryTransport, seed: int) -> None:
    """Bindings, evictions and conditions fail at random; watches break off."""
    chance = random.Random(seed)
    failures = [
        Conflict("conflict"),
        TooManyRequests("slow down"),
        InternalError("broken"),
        Unreachable("cut"),
    ]
    broken = True

    def fault(verb: str, resource: Resource, key: Key) -> None:
        if broken and verb not in ("list", "watch", "get") and chance.random() < 0.4:
            raise chance.choice(failures)

    await full(cluster)
    async with scheduling(cluster):
        cluster.fault = fault
        await created(cluster)
        await asyncio.sleep(60)
        broken = False
        await asyncio.sleep(400)

        assert (await cluster.get(PODS, P))["spec"].get("nodeName") == "n1"
        with pytest.raises(NotFound):
            await cluster.get(PODS, Key("shop", "a"))


async def created(cluster: MemoryTransport) -> None:
    while True:
        try:
            await cluster.create(PODS, pod(cpu="2", priority=5))
        except (Conflict, TooManyRequests, InternalError, Unreachable):
            continue
        return

"""An API that answers 409, 429 and 500, is cut off, or forgets where watches were: all pods end where they should."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.scheduler.test_cycle import node, pod
from tests.scheduler.test_shell import INDEX, NODES, PODS, cluster
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource, Unreachable
from timonel.machinery.errors import Conflict, InternalError, TooManyRequests
from timonel.objects.meta import Key, Object
from timonel.scheduler.configuration import Configuration
from timonel.scheduler.framework import Rejected, State
from timonel.scheduler.profile import Profile, default_plugins
from timonel.scheduler.shell import Scheduler

__all__ = ["cluster"]

FAILURES = (Conflict("conflict"), TooManyRequests("slow down"), InternalError("broken"), Unreachable("cut"))


def placed(pods: Sequence[Object]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for obj in pods:
        found.setdefault(obj["spec"].get("nodeName", ""), []).append(obj["metadata"]["name"])
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_every_pod_that_fits_gets_a_node_and_no_node_too_many(
    cluster: MemoryTransport, seed: int
) -> None:
    chance, broken = random.Random(seed), True

    def fault(verb: str, resource: Resource, key: Key) -> None:
        if broken and chance.random() < 0.3:
            raise chance.choice(FAILURES)

    for number in range(3):
        await cluster.create(NODES, node(f"n{number}", cpu="4"))
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        for number in range(14):
            await cluster.create(PODS, pod(f"p{number}", cpu="1"))
            cluster.fault = fault
            await asyncio.sleep(chance.random() * 3)
            cluster.fault = None
            if chance.random() < 0.3:
                cluster.forget_history()
        cluster.fault = fault
        await asyncio.sleep(60)
        broken = False
        await asyncio.sleep(400)

        found = placed((await cluster.list(PODS)).items)
        assert sorted(len(found[f"n{number}"]) for number in range(3)) == [4, 4, 4]
        assert len(found[""]) == 2

        for number in range(14):
            if number % 2:
                await cluster.delete(PODS, Key("shop", f"p{number}"))
        await asyncio.sleep(400)

        assert "" not in placed((await cluster.list(PODS)).items)


class Patient:
    """Lets pods wait until it is told."""

    name = "Patient"
    scope = "nodes"
    events: frozenset[str] = frozenset({"pod-changed"})

    def __init__(self) -> None:
        self.allowed = asyncio.Event()
        self.refuses = False

    async def permit(self, state: State, node: str) -> None:
        await self.allowed.wait()
        if self.refuses:
            raise Rejected("not today")


def with_permit(cluster: MemoryTransport, plugin: Patient) -> Scheduler:
    profile = Profile([*default_plugins(), plugin])
    return Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=Configuration((profile,)))


async def test_a_pod_waits_for_its_permit_and_holds_its_place(cluster: MemoryTransport) -> None:
    plugin = Patient()
    await cluster.create(NODES, node("n1", cpu="1"))
    async with running(with_permit(cluster, plugin)):
        await cluster.create(PODS, pod("a", cpu="1"))
        await asyncio.sleep(5)
        await cluster.create(PODS, pod("b", cpu="1"))
        await asyncio.sleep(5)
        assert placed((await cluster.list(PODS)).items) == {"": ["a", "b"]}

        plugin.allowed.set()
        await asyncio.sleep(1)

        assert placed((await cluster.list(PODS)).items) == {"n1": ["a"], "": ["b"]}


async def test_a_pod_that_waits_gives_way_to_a_more_important_one(cluster: MemoryTransport) -> None:
    plugin = Patient()
    await cluster.create(NODES, node("n1", cpu="1"))
    async with running(with_permit(cluster, plugin)):
        await cluster.create(PODS, pod("a", cpu="1", priority=1))
        await asyncio.sleep(5)
        await cluster.create(PODS, pod("b", cpu="1", priority=9))
        await asyncio.sleep(5)
        plugin.allowed.set()
        await asyncio.sleep(60)

        assert placed((await cluster.list(PODS)).items) == {"": ["a"], "n1": ["b"]}


async def test_a_refused_permit_gives_the_place_back(cluster: MemoryTransport) -> None:
    plugin = Patient()
    plugin.refuses = True
    plugin.allowed.set()
    await cluster.create(NODES, node("n1", cpu="1"))
    async with running(with_permit(cluster, plugin)):
        await cluster.create(PODS, pod("a", cpu="1"))
        await asyncio.sleep(5)
        (condition,) = (await cluster.get(PODS, Key("shop", "a")))["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == (
            "Unschedulable",
            "0/1 nodes are available: 1 not today.",
        )

        plugin.refuses = False
        await asyncio.sleep(330)  # the plugin names no event that would help sooner

        assert placed((await cluster.list(PODS)).items) == {"n1": ["a"]}

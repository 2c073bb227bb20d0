"""The scheduler's late start: with the first pod that has no node, or soon after the first node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import builtin
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource
from timonel.distro.late import SOON, WhenNeeded
from timonel.machinery.errors import ServiceUnavailable
from timonel.objects.meta import Key, Object

INDEX = builtin()
PODS, NODES = INDEX.resource("pods"), INDEX.resource("nodes")


class Recorded:
    """A service that says that it has begun."""

    name = "recorded"

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def run(self, ready: asyncio.Event) -> None:
        self.begun.set()
        ready.set()
        await asyncio.Event().wait()


class World:
    def __init__(self) -> None:
        self.service = Recorded()
        self.clock = SystemClock()
        self.transport = MemoryTransport(self.clock)

    async def has_begun(self, seconds: float = 0.0) -> bool:
        await self.clock.sleep(seconds)
        for _ in range(20):
            await self.clock.sleep(0)
        return self.service.begun.is_set()


@asynccontextmanager
async def late(world: World) -> AsyncIterator[None]:
    async with running(
        WhenNeeded(
            "scheduler",
            lambda: world.service,
            world.transport,
            pods=PODS,
            nodes=NODES,
            clock=world.clock,
        )
    ):
        yield


def pod(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {}}


async def test_nothing_begins_in_a_cluster_without_nodes_and_pods() -> None:
    world = World()
    async with late(world):
        assert not await world.has_begun(3600)


async def test_it_begins_at_once_with_the_first_pod_that_has_no_node() -> None:
    world = World()
    async with late(world):
        await world.transport.create(PODS, pod("a"), namespace="shop")
        assert await world.has_begun()


async def test_it_begins_with_a_pod_that_was_there_before() -> None:
    world = World()
    await world.transport.create(PODS, pod("a"), namespace="shop")
    async with late(world):
        assert await world.has_begun()


async def test_it_begins_soon_after_the_first_node() -> None:
    world = World()
    async with late(world):
        await world.transport.create(NODES, {"metadata": {"name": "n-1"}})
        assert not await world.has_begun(SOON / 2)
        assert await world.has_begun(SOON)


async def test_it_begins_where_nobody_answers_whether_it_must() -> None:
    world = World()

    def refuse(verb: str, resource: Resource, key: Key) -> None:
        raise ServiceUnavailable("not now")

    world.transport.fault = refuse
    async with late(world):
        assert await world.has_begun()

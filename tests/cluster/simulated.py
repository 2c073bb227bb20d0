"""A control plane whose nodes live by the one engine, behind a transport that may fail."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from tests.cluster.harness import NAMESPACE, World, template
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running
from timonel.client.rest import Client
from timonel.client.transport import Transport, Unreachable
from timonel.distro.cluster import ADMIN, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import Simulation, first_nodes
from timonel.machinery.errors import Conflict, StatusError, TooManyRequests
from timonel.node.simulation.stages import Stages
from timonel.objects.meta import Object
from timonel.store.memory import MemoryStore


class Unreliable:
    """A transport whose writes fail now and then, before or after they are done; `away` fails everything, and what
    `refuse` raises is what a request gets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.often, self.away = 0.0, False
        self.refuse: Callable[[str, tuple[Any, ...]], None] = lambda name, args: None

    def around(self, inner: Transport) -> Transport:
        self._inner = inner
        return cast(Transport, self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "watch":
            return self._watch
        if name not in ("create", "update", "patch", "delete", "get", "list"):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                raise Unreachable("away")
            self.refuse(name, args)
            early, late = self._random.random(), self._random.random()
            if name in ("get", "list") or not self.often:
                return await found(*args, **kwargs)
            if early < self.often:
                raise self._failure()
            answer = await found(*args, **kwargs)
            if late < self.often:
                raise self._failure()
            return answer

        return call

    async def _watch(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for event in self._inner.watch(*args, **kwargs):
            if self.away:
                raise Unreachable("away")
            yield event

    def _failure(self) -> Exception:
        kinds: list[Exception] = [
            Unreachable("lost"), Conflict("changed"), TooManyRequests("slow down"), StatusError("broken", code=500),
        ]  # fmt: skip
        return self._random.choice(kinds)


@asynccontextmanager
async def without_nodes(nodes: int) -> AsyncIterator[World]:
    """The control plane of a cluster of so many nodes, which are not there yet."""
    clock = VirtualClock()
    config = ClusterConfig("test", components=("api", "controllers", "scheduler"), nodes=nodes)
    plane = Cluster(config, secrets=Secrets(), store=MemoryStore(), clock=clock, hosts=("127.0.0.1",))
    async with plane.running():
        world = World(Client(plane.transport_for(ADMIN), plane.index), clock, plane)
        await world.client.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await world.until(lambda: world.find("serviceaccounts", "default"))
        yield world


@asynccontextmanager
async def simulated(
    nodes: int, *, seed: int = 0, stages: Stages | None = None
) -> AsyncIterator[tuple[World, Simulation, Unreliable]]:
    async with without_nodes(nodes) as world:
        unreliable = Unreliable(seed)
        make = first_nodes(world.plane.config)
        simulation = Simulation(world.plane, make=make, stages=stages, through=unreliable.around)
        async with running(simulation):
            yield world, simulation, unreliable


async def tiny_node(world: World, name: str = "tiny", pods: str = "10.9.0.0/29") -> None:
    """One with five addresses for pods."""
    sizes = {"cpu": "64", "memory": "64Gi", "pods": "500"}
    node: Object = {
        "metadata": {"name": name, "annotations": {"timonel.dev/simulated": "true"}},
        "spec": {"podCIDR": pods, "podCIDRs": [pods]},
        "status": {"capacity": sizes, "allocatable": sizes},
    }
    await world.client.create("nodes", node)


async def pod_on(world: World, name: str, *, node: str = "tiny", how: Any = None, **spec: Any) -> None:
    """`how` is its annotation."""
    annotations = {"timonel.dev/simulate": json.dumps(how)} if how else {}
    body = {**template(**spec)["spec"], "nodeName": node, "terminationGracePeriodSeconds": 1}
    await world.create("pods", {"metadata": {"name": name, "annotations": annotations}, "spec": body})


async def phases(world: World) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in await world.all("pods")}


async def events_of(world: World, reason: str) -> Sequence[Object]:
    return [event for event in await world.all("events") if event["reason"] == reason]


async def ready_nodes(world: World) -> list[str]:
    return [
        n["metadata"]["name"]
        for n in await world.all("nodes", "")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", ()))
    ]

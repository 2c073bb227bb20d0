"""A whole control plane in one process and one loop: memory store, all controllers, the scheduler, simulated nodes.

Time is virtual and stands still but for `until` and `pass_by`, which turn the clock. Nothing leaves the process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running_together
from timonel.client.rest import Client
from timonel.distro.cluster import ADMIN, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import simulated_nodes
from timonel.objects import pods
from timonel.objects.meta import Key, Object
from timonel.store.memory import MemoryStore

STEP = 0.25
NAMESPACE = "shop"

T = TypeVar("T")


class World:
    """A running cluster as its tests see it, as the admin; objects are in one namespace where none is named."""

    def __init__(self, client: Client, clock: VirtualClock, plane: Cluster) -> None:
        self.client, self.clock, self.plane = client, clock, plane

    async def create(self, resource: str, obj: Object) -> Object:
        return await self.client.create(resource, obj, namespace=NAMESPACE)

    async def find(self, resource: str, name: str) -> Object | None:
        return await self.client.find(resource, Key(NAMESPACE, name))

    async def status(self, resource: str, name: str) -> dict[str, Any]:
        found = await self.find(resource, name)
        return (found or {}).get("status") or {}

    async def patch(self, resource: str, name: str, patch: dict[str, Any]) -> Object:
        return await self.client.patch(resource, Key(NAMESPACE, name), patch)

    async def delete(self, resource: str, name: str, *, propagation: str = "") -> None:
        await self.client.delete(resource, Key(NAMESPACE, name), propagation=propagation)

    async def all(self, resource: str, namespace: str = NAMESPACE) -> Sequence[Object]:
        return list((await self.client.list(resource, namespace)).items)

    async def names(self, resource: str, namespace: str = NAMESPACE) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in await self.all(resource, namespace))

    async def ready_pods(self) -> Sequence[Object]:
        return [pod for pod in await self.all("pods") if pods.is_ready(pod)]

    async def pass_by(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def until(self, check: Callable[[], Awaitable[T]], *, within: float = 120.0) -> T:
        """What `check` answers once that is true; the clock is turned meanwhile, at most so many seconds."""
        end = self.clock.now() + within
        while not (found := await check()):
            assert self.clock.now() < end, f"not within {within:g} s"
            await self.clock.advance(STEP)
        return found


@asynccontextmanager
async def cluster(
    *, nodes: int = 1, name: str = "test", secrets: Secrets | None = None
) -> AsyncIterator[World]:
    clock = VirtualClock()
    config = ClusterConfig(name, components=("api", "controllers", "scheduler"), nodes=nodes)
    plane = Cluster(
        config, secrets=secrets or Secrets(), store=MemoryStore(), clock=clock, hosts=("127.0.0.1",)
    )
    async with plane.running(), running_together(*simulated_nodes(plane, range(1, nodes + 1))):
        world = World(Client(plane.transport_for(ADMIN), plane.index), clock, plane)
        await world.client.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await world.until(lambda: world.find("serviceaccounts", "default"))
        yield world


def template(image: str = "web:1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}], **spec},
    }


def workload(name: str = "web", **spec: Any) -> Object:
    """Of any kind that has a selector and a template."""
    selector = {"matchLabels": {"app": "web"}}
    return {"metadata": {"name": name}, "spec": {"selector": selector, "template": template(), **spec}}

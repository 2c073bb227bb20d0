"""What everybody else waits for while one namespace creates ten thousand Deployments at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.clusters import Running, fresh
from benchmarks.figure import Benchmark, Figure
from timonel.client.rest import Client
from timonel.client.transport import Resource
from timonel.objects.meta import Object

CROWD = 10_000
CONNECTIONS = 16
PODS = Resource("", "v1", "pods", True)
PATIENCE = 1_800.0  # seconds
PAUSE = 2.0


def deployment(name: str) -> Object:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


class Seen:
    """The pods of a namespace, as they come: whose name begins with that of their Deployment."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client, self._namespace = client, namespace
        self.count = 0
        self._names: set[str] = set()
        self._changed = asyncio.Event()

    async def follow(self) -> None:
        async for event in self._client.transport.watch(PODS, self._namespace, resource_version="0"):
            if event.type == "ADDED":
                self.count += 1
                self._names.add(event.object["metadata"]["name"].rsplit("-", 2)[0])
                self._changed.set()

    async def until(self, count: int = 0, name: str = "") -> None:
        while self.count < count or (name and name not in self._names):
            self._changed.clear()
            await self._changed.wait()


async def burst(client: Client, count: int) -> None:
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await client.create("deployments.apps", deployment(f"many-{number}"), namespace="crowd")

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(some())


async def others(client: Client, seen: Seen, waits: list[float], prefix: str) -> None:
    """Somebody who deploys something now and then, until cancelled."""
    number = 0
    while True:
        name = f"{prefix}{number}"
        started = time.perf_counter()
        await client.create("deployments.apps", deployment(name), namespace="shop")
        await seen.until(name=name)
        waits.append(time.perf_counter() - started)
        number += 1
        await asyncio.sleep(PAUSE)


async def crowd(cluster: Running, count: int) -> tuple[float, list[float], float]:
    """Seconds for all of the crowd, what the others waited meanwhile, and what they wait when nobody else is there."""
    (client, transport), (other, second) = cluster.client(), cluster.client()
    try:
        for namespace in ("crowd", "shop"):
            await client.create("namespaces", {"metadata": {"name": namespace}})
        many, few = Seen(client, "crowd"), Seen(other, "shop")
        alone: list[float] = []
        waits: list[float] = []
        async with asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE):
            following = [group.create_task(many.follow()), group.create_task(few.follow())]
            await asyncio.sleep(1.0)
            quiet = group.create_task(others(other, few, alone, "alone"))
            await asyncio.sleep(3 * PAUSE)
            quiet.cancel()
            started = time.perf_counter()
            busy = group.create_task(others(other, few, waits, "few"))
            await burst(client, count)
            await many.until(count)
            took = time.perf_counter() - started
            for task in (busy, *following):
                task.cancel()
        return took, waits, max(alone)
    finally:
        await transport.close()
        await second.close()


def fairness() -> Sequence[Figure]:
    with fresh(components=("api", "controllers")) as cluster:
        took, waits, alone = asyncio.run(crowd(cluster, CROWD))
    note = f"{len(waits)} Deployments of another namespace; alone {alone:.2f} s; the crowd took {took:.0f} s"
    return (Figure(f"longest wait while {CROWD:,} Deployments are made", 5.0, "s", max(waits), note),)


BENCHMARKS = (Benchmark("fairness", fairness),)

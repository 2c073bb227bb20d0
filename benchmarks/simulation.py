"""Simulated nodes and virtual time: how fast many nodes and pods come and go, what they take, how a year passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.clusters import Running, cpu_seconds, fresh, idle_wait, resident
from benchmarks.figure import Benchmark, Figure
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running_together
from timonel.client.rest import Client
from timonel.client.transport import Resource
from timonel.distro import collector
from timonel.distro.cluster import ADMIN, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import simulated_nodes
from timonel.machinery.errors import AlreadyExists
from timonel.objects.meta import Key, Object
from timonel.store.memory import MemoryStore

NODES, PODS = 1_000, 10_000
MANY_NODES, MANY_PODS = 5_000, 100_000
CONNECTIONS = 16
PATIENCE = 1_800.0  # seconds
IDLE = 30.0
YEAR = 365 * 86_400.0
POD_RESOURCE = Resource("", "v1", "pods", True)
TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}


class Followed:
    """How many pods run, from a watch."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._names: set[str] = set()
        self.all_run, self.all_gone = asyncio.Event(), asyncio.Event()

    async def follow(self, client: Client) -> None:
        async for event in client.transport.watch(POD_RESOURCE, "default", resource_version="0"):
            name = event.object["metadata"].get("name", "")
            if event.type == "DELETED":
                self._names.discard(name)
                if not self._names and self.all_run.is_set():
                    self.all_gone.set()
            elif (event.object.get("status") or {}).get("phase") == "Running":
                self._names.add(name)
                if len(self._names) >= self._wanted:
                    self.all_run.set()


def pod(number: int, node: str) -> Object:
    requests = {"cpu": "10m", "memory": "16Mi"}
    container = {"name": "web", "image": "registry.example/web:1", "resources": {"requests": requests}}
    spec = {"containers": [container], **({"nodeName": node} if node else {})}
    return {
        "metadata": {"name": f"pod-{number}", "namespace": "default", "labels": {"app": "web"}},
        "spec": spec,
    }


@asynccontextmanager
async def followed(cluster: Running, count: int) -> AsyncIterator[tuple[Client, Followed]]:
    client, transport = cluster.client()
    pods = Followed(count)
    try:
        account = {"metadata": {"name": "default", "namespace": "default"}}
        with suppress(AlreadyExists):
            await client.create("serviceaccounts", account)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(pods.follow(client))
            await asyncio.sleep(0.5)
            yield client, pods
            watching.cancel()
    finally:
        await transport.close()


async def make(client: Client, count: int, *, bound_to: int = 0) -> None:
    """So many pods, bound already to so many nodes where that is said."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            node = f"bench-{number % bound_to + 1}" if bound_to else ""
            await client.create("pods", pod(number, node))

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(some())


class Spent:
    """How long something took, and how much the server computed for it: the one depends on what else the machine does,
    the other hardly."""

    def __init__(self, cluster: Running) -> None:
        self._server, self._began = cluster.server, time.perf_counter()
        self._cpu = cpu_seconds([self._server])
        self.seconds = self.cpu = 0.0

    def stop(self) -> Spent:
        self.seconds = time.perf_counter() - self._began
        self.cpu = cpu_seconds([self._server]) - self._cpu
        return self

    def each(self, count: int) -> str:
        share = 100 * self.cpu / self.seconds
        return f"{1000 * self.cpu / count:.2f} ms of CPU each, the server had {share:.0f}% of a processor"


async def come_and_go(cluster: Running, count: int, *, bound_to: int = 0) -> tuple[Spent, Spent]:
    async with followed(cluster, count) as (client, pods), asyncio.timeout(PATIENCE):
        came = Spent(cluster)
        await make(client, count, bound_to=bound_to)
        await pods.all_run.wait()
        came.stop()
        went = Spent(cluster)
        await client.transport.delete_collection(POD_RESOURCE, "default")
        await pods.all_gone.wait()
        return came, went.stop()


async def hold(cluster: Running, count: int) -> None:
    async with followed(cluster, count) as (client, pods), asyncio.timeout(PATIENCE):
        await make(client, count, bound_to=NODES)
        await pods.all_run.wait()
        await asyncio.sleep(5)


def nodes() -> Sequence[Figure]:
    with fresh(options=("--nodes", str(MANY_NODES))) as cluster:
        note = f"timonel up, from nothing; {cpu_seconds([cluster.server]):.1f} s of CPU"
        return [Figure(f"{MANY_NODES:,} nodes Ready", 5.0, "s", cluster.seconds, note)]


def pods() -> Sequence[Figure]:
    with fresh(options=("--nodes", str(NODES))) as cluster:
        came, went = asyncio.run(come_and_go(cluster, PODS))
    note = f"{NODES:,} nodes, all components, created over HTTPS"
    return [
        Figure("simulated pods to Running", 1_000, "/s", PODS / came.seconds, note, more_is_better=True),
        Figure(f"{PODS:,} pods Running", 10.0, "s", came.seconds, came.each(PODS)),
        Figure(f"{PODS:,} pods deleted", 10.0, "s", went.seconds, f"as a collection; {went.each(PODS)}"),
    ]


def bound_pods() -> Sequence[Figure]:
    """As tools that only need nodes to answer have it: no scheduler, pods come with a node."""
    with fresh(components=("api", "node"), options=("--nodes", str(NODES))) as cluster:
        came, went = asyncio.run(come_and_go(cluster, PODS, bound_to=NODES))
    note = f"API server and {NODES:,} nodes; {came.each(PODS)}"
    return [
        Figure("bound pods to Running", 1_000, "/s", PODS / came.seconds, note, more_is_better=True),
        Figure(f"{PODS:,} bound pods deleted", 10.0, "s", went.seconds, went.each(PODS)),
    ]


def memory() -> Sequence[Figure]:
    with fresh(components=("api", "node"), options=("--nodes", str(NODES))) as cluster:
        asyncio.run(hold(cluster, MANY_PODS))
        note = "API server and nodes, without controllers and scheduler"
        held = resident(cluster.server)
    return [Figure(f"{MANY_PODS:,} pods on {NODES:,} nodes", 1_500, "MB", held, note)]


def switches(pid: int) -> int:
    """How often the threads of a process went to sleep."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                found += int(line.split()[1])
    return found


def idle() -> Sequence[Figure]:
    with fresh() as cluster:
        idle_wait(10)
        before = switches(cluster.server)
        idle_wait(IDLE)
        return [Figure("wake-ups, idle", 5.0, "/s", (switches(cluster.server) - before) / IDLE, "one node")]


async def pass_a_year() -> float:
    clock = VirtualClock()
    config = ClusterConfig("bench", components=("api", "controllers", "scheduler"))
    cluster = Cluster(config, secrets=Secrets(), store=MemoryStore(), clock=clock, hosts=("127.0.0.1",))
    async with cluster.running(), running_together(*simulated_nodes(cluster, [1])):
        collector.settle()  # as a server does when it has started
        client = Client(cluster.transport_for(ADMIN), cluster.index)
        while await client.find("serviceaccounts", Key("default", "default")) is None:
            await clock.advance(1)
        job = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}
        await client.create(
            "cronjobs.batch", {"metadata": {"name": "daily", "namespace": "default"}, "spec": job}
        )
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        await client.create(
            "deployments.apps", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
        )
        started = time.perf_counter()
        await clock.advance(YEAR)
        return time.perf_counter() - started


def year() -> Sequence[Figure]:
    import uvloop

    note = "a CronJob a day and a Deployment; in memory, all components"
    return [Figure("a year", 5.0, "s", uvloop.run(pass_a_year()), note)]


BENCHMARKS = (
    Benchmark("simulated-nodes", nodes),
    Benchmark("simulated-pods", pods),
    Benchmark("bound-pods", bound_pods),
    Benchmark("simulated-memory", memory),
    Benchmark("wake-ups", idle),
    Benchmark("year", year),
)

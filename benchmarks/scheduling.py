"""The scheduler against an API server, on 5,000 nodes, as upstream's scheduler_perf defines its cases.

Server and scheduler are in this process, without sockets, as in scheduler_perf; the state is in memory. The pods to be
measured are created while they are scheduled, and the rate is theirs from the first request to the last binding.

Upstream: test/integration/scheduler_perf/{misc,topology_spreading,affinity,preemption}/performance-config.yaml and the
templates beside them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import uvloop

from benchmarks.figure import Benchmark, Figure
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.rest import Client
from timonel.distro.cluster import ADMIN, SCHEDULER, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.objects.meta import Key, Object
from timonel.scheduler.shell import Scheduler
from timonel.store.memory import MemoryStore

NODES = 5_000
ZONES = ("moon-1", "moon-2", "moon-3")
CREATORS = 32  # requests to create pods at the same time
PATIENCE = 300.0  # seconds

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    target: float
    first: int  # pods that are there before
    measured: int
    pod: Callable[[int], Object]
    first_pod: Callable[[int], Object] | None = None
    node_labels: Callable[[int], Labels] = lambda number: {}


def node(number: int, labels: Labels) -> Object:
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    name = f"scheduler-perf-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(
    number: int, *, cpu: str = "100m", memory: str = "500Mi", labels: Labels | None = None, **spec: Any
) -> Object:
    container = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10.1",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": cpu, "memory": memory}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}", "namespace": "default", "labels": labels or {}},
        "spec": {"containers": [container], "automountServiceAccountToken": False, **spec},
    }


def in_zone(number: int) -> Labels:
    return {"topology.kubernetes.io/zone": ZONES[number % len(ZONES)]}


def spread(number: int) -> Object:
    blue = {"color": "blue"}
    constraint = {
        "maxSkew": 5,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": blue},
    }
    return pod(number, labels=blue, topologySpreadConstraints=[constraint])


def apart(number: int) -> Object:
    green = {"color": "green", "name": "test"}
    term = {
        "labelSelector": {"matchLabels": {"color": "green"}},
        "topologyKey": "kubernetes.io/hostname",
        "namespaces": ["default"],
    }
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return pod(number, labels=green, affinity=affinity)


def low(number: int) -> Object:
    return pod(number, cpu="900m", terminationGracePeriodSeconds=0)


def high(number: int) -> Object:
    return pod(number, cpu="3000m", priorityClassName="high")


CASES = (
    Case("basic pods", 1_500, 1_000, 5_000, pod),
    Case("topology spreading", 500, 5_000, 2_000, spread, first_pod=pod, node_labels=in_zone),
    Case("required pod anti-affinity", 200, 1_000, 1_000, apart, node_labels=in_zone),
    Case("preemption", 300, 4 * NODES, 1_000, high, first_pod=low),
)


@dataclass(frozen=True, slots=True)
class Rate:
    per_second: float
    milliseconds: float  # of processor time for each, of the API server and the bench itself too


class Bench:
    """A cluster of one case."""

    def __init__(self, client: Client, scheduler: Scheduler) -> None:
        self.client, self.scheduler = client, scheduler
        self._number = 0

    async def make(self, resource: str, objects: Sequence[Object]) -> None:
        waiting = iter(objects)

        async def creator() -> None:
            for obj in waiting:
                await self.client.create(resource, obj)

        async with asyncio.TaskGroup() as group:
            for _ in range(CREATORS):
                group.create_task(creator())

    async def schedule(self, make: Callable[[int], Object], count: int) -> Rate:
        """Creates so many pods, and waits until all of them are bound."""
        numbers = range(self._number, self._number + count)
        self._number += count
        wanted = {f"pod-{number}" for number in numbers}
        done = asyncio.Event()

        def seen(old: Object | None, new: Object | None) -> None:
            if new is not None and new["spec"].get("nodeName"):
                wanted.discard(new["metadata"]["name"])
                if not wanted:
                    done.set()

        objects = [make(number) for number in numbers]
        informer = self.scheduler.informer("pods")
        informer.add_handler(seen)
        started, busy = time.perf_counter(), time.process_time()
        await self.make("pods", objects)
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        elapsed, busy = time.perf_counter() - started, time.process_time() - busy
        informer.remove_handler(seen)
        return Rate(count / elapsed, busy / count * 1000)


async def measured(case: Case) -> Rate:
    clock = SystemClock()
    config = ClusterConfig(name="bench", components=("api",), port=0)
    cluster = Cluster(config, secrets=Secrets(), store=MemoryStore(), clock=clock, hosts=["127.0.0.1"])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster.running())
        scheduler = Scheduler(cluster.transport_for(SCHEDULER), index=cluster.index, clock=clock)
        client = Client(cluster.transport_for(ADMIN), cluster.index)
        bench = Bench(client, scheduler)
        await bench.make("nodes", [node(n, case.node_labels(n)) for n in range(NODES)])
        for n in range(NODES):  # of the taint that new nodes get
            key = Key("", f"scheduler-perf-{n}")
            await client.patch("nodes", key, {"spec": {"taints": None}})
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "default"},
        }
        await client.create("serviceaccounts", account)
        high_class = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 10,
        }
        await client.create("priorityclasses.scheduling.k8s.io", high_class)
        await stack.enter_async_context(running(scheduler))
        await bench.schedule(case.first_pod or case.pod, case.first)
        return await bench.schedule(case.pod, case.measured)


def run(case: Case) -> Rate:
    """As the server runs: on uvloop, with what is there from the start left out of garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    try:
        rate: Rate = uvloop.run(measured(case))
        return rate
    finally:
        gc.unfreeze()


def scheduling() -> Sequence[Figure]:
    figures = []
    for case in CASES:
        rate = run(case)
        note = f"{NODES:,} nodes, {case.first:,} pods before, {case.measured:,} measured; API in memory"
        note += f"; {rate.milliseconds:.2f} ms of processor time each"
        figures.append(Figure(f"scheduling, {case.name}", case.target, "/s", rate.per_second, note, True))
    return figures


BENCHMARKS = (Benchmark("scheduling", scheduling),)

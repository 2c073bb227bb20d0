"""Controllers and scheduler at work: a Deployment of 1,000 pods bound to 100 nodes, and brought to Running on ten."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.clusters import CONTROL_PLANE, TOKEN, Running, cpu_seconds, fresh, idle_wait
from benchmarks.figure import Benchmark, Figure
from timonel.client.rest import Client
from timonel.distro.late import SOON
from timonel.objects.meta import Key, Object

PODS = 1_000
NODES = 100
SIMULATED = 10
PATIENCE = 60.0  # seconds
SETTLED = SOON + 1.5  # after the nodes have come: by then the scheduler has been started for them
LABELS = {"app": "web"}
WATCH = "/api/v1/namespaces/default/pods?watch=1&fieldSelector="


def node(number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": {"kubernetes.io/hostname": f"node-{number}"}},
    }


NODE_STATUS: Object = {
    "capacity": {"cpu": "32", "memory": "256Gi", "pods": "110"},
    "allocatable": {"cpu": "32", "memory": "256Gi", "pods": "110"},
    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
}


def deployment(name: str, replicas: int) -> Object:
    container = {
        "name": "web",
        "image": "registry.example/web:1",
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}},
        },
    }


async def make_nodes(client: Client) -> None:
    for number in range(NODES):
        key = Key("", (await client.create("nodes", node(number)))["metadata"]["name"])
        await client.patch("nodes", key, {"spec": {"taints": None}})  # which new nodes get
        await client.patch("nodes", key, {"status": NODE_STATUS}, subresource="status")


class Counter:
    """A watch that counts ADDED events and reads nothing else of them, so that watching costs next to nothing."""

    def __init__(self, cluster: Running, selector: str) -> None:
        self._cluster, self._selector = cluster, selector

    async def __aenter__(self) -> Counter:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._cluster.port, ssl=self._cluster.tls
        )
        self._writer.write(
            f"GET {WATCH}{self._selector} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        await self._reader.readuntil(b"\r\n\r\n")
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._writer.close()

    async def wait(self, count: int) -> None:
        rest = b""
        while count > 0:
            data = rest + await self._reader.read(1 << 20)
            if not data:
                raise ConnectionResetError("the watch ended")
            count -= data.count(b'{"type":"ADDED"')
            rest = data[-14:]  # an event that is cut in two


async def timed(cluster: Running, selector: str, name: str) -> float:
    client, transport = cluster.client()
    try:
        async with Counter(cluster, selector) as counter, asyncio.timeout(PATIENCE):
            started = time.perf_counter()
            await client.create("deployments.apps", deployment(name, PODS))
            await counter.wait(PODS)
            return time.perf_counter() - started
    finally:
        await transport.close()


async def with_nodes(cluster: Running) -> None:
    client, transport = cluster.client()
    try:
        await make_nodes(client)
    finally:
        await transport.close()


def bound() -> Sequence[Figure]:
    times, seconds = [], []
    for _ in range(3):
        with fresh(components=CONTROL_PLANE) as cluster:
            asyncio.run(with_nodes(cluster))
            idle_wait(SETTLED)
            before = cpu_seconds([cluster.server])
            times.append(asyncio.run(timed(cluster, "spec.nodeName!%3D", "web")))
            seconds.append(cpu_seconds([cluster.server]) - before)
    each = statistics.median(seconds) / PODS * 1000
    note = f"best {min(times):.2f}, worst {max(times):.2f}; {each:.2f} ms of processor time per pod"
    name = f"Deployment of {PODS:,} pods on {NODES} nodes, created and bound"
    return [Figure(name, 1.0, "s", statistics.median(times), note)]


def brought_up() -> Sequence[Figure]:
    times = []
    for _ in range(3):
        with fresh(nodes=SIMULATED) as cluster:
            times.append(asyncio.run(timed(cluster, "status.phase%3DRunning", "web")))
    rates = [PODS / seconds for seconds in times]
    note = f"Deployment of {PODS:,} pods on {SIMULATED} simulated nodes, scheduling included"
    name = "simulated pods brought to Running"
    return [Figure(name, 1_000, "/s", statistics.median(rates), note, True)]


BENCHMARKS = (Benchmark("deployment", bound), Benchmark("running", brought_up))

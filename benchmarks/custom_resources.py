"""Custom resources: how long hundreds of definitions take until they are served, what they cost, how fast objects are.

Definitions are as large as those of operators that describe a cloud: some 40 kB of schema each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks import pods
from benchmarks.clusters import CONTROL_PLANE, Running, cpu_seconds, fresh, idle_wait, resident
from benchmarks.figure import Benchmark, Figure
from benchmarks.load import Report, run
from timonel.client.transport import Transport
from timonel.objects.meta import Object

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CONNECTIONS = 8
FEW, MANY = 100, 500
SECONDS = 3.0
ATTEMPTS = 1000  # to find a definition established
OBJECTS = 500


def schema(depth: int = 3, width: int = 4) -> Object:
    """Objects in objects, with descriptions, lists and numbers that have limits."""
    if not depth:
        return {
            "type": "string",
            "description": "The name of something in the cloud, as its provider knows it.",
        }
    properties: Object = {f"field{i}": schema(depth - 1, width) for i in range(width)}
    properties |= {
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "size": {
            "type": "integer",
            "minimum": 1,
            "default": 3,
            "description": "How many there should be of it.",
        },
    }
    return {"type": "object", "description": "What is wanted of this part.", "properties": properties}


def definition(number: int, *, large: bool = True) -> Object:
    plural = f"things{number}"
    group = f"group{number % 20}.example.com"
    whole = {
        "type": "object",
        "properties": {
            "spec": schema(4) if large else {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": whole},
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": f"Thing{number}"},
            "versions": [version],
        },
    }


def path_of(number: int) -> str:
    return f"/apis/group{number % 20}.example.com/v1/namespaces/default/things{number}"


async def _install(transport: Transport, numbers: Sequence[int]) -> float:
    """Seconds until all are established and answer."""
    started = time.perf_counter()
    waiting = list(numbers)

    async def some() -> None:
        while waiting:
            await transport.raw("POST", CRDS, body=definition(waiting.pop()))

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(some())
    for number in numbers:
        name = definition(number, large=False)["metadata"]["name"]
        for _ in range(ATTEMPTS):
            if _is_established(await transport.raw("GET", f"{CRDS}/{name}")):
                break
            await asyncio.sleep(0.01)
    return time.perf_counter() - started


def _is_established(crd: Object) -> bool:
    conditions = crd["status"].get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def _installed(cluster: Running, numbers: Sequence[int]) -> float:
    _, transport = cluster.client()
    try:
        return await _install(transport, numbers)
    finally:
        await transport.close()


def definitions() -> Sequence[Figure]:
    with fresh(components=CONTROL_PLANE) as cluster:
        idle_wait(2.0)
        idle = resident(cluster.server)
        first = asyncio.run(_installed(cluster, [0]))
        few = asyncio.run(_installed(cluster, range(1, FEW + 1)))
        before = cpu_seconds([cluster.server])
        many = asyncio.run(_installed(cluster, range(FEW + 1, MANY + 1))) + few
        spent = (cpu_seconds([cluster.server]) - before) / (MANY - FEW) * 1000
        idle_wait(3.0)
        full = resident(cluster.server)
    each = (full - idle) * 1000 / (MANY + 1)
    return [
        Figure("a definition, from nothing to served", 0.5, "s", first),
        Figure(f"{FEW} definitions established", 10, "s", few),
        Figure(f"{MANY} definitions established", 50, "s", many, f"{spent:.0f} ms of CPU each"),
        Figure(f"memory of {MANY} definitions", 150, "MB", full - idle, f"{each:.0f} kB each"),
    ]


async def _objects(cluster: Running) -> None:
    _, transport = cluster.client()
    try:
        await _install(transport, [0])
        for number in range(OBJECTS):
            name, data = f"thing-{number}", {"key": "value " * 20}
            custom = {"apiVersion": "group0.example.com/v1", "kind": "Thing0", "metadata": {"name": name}}
            await transport.raw("POST", path_of(0), body={**custom, "spec": data})
            plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
            await transport.raw("POST", CONFIG_MAPS, body=plain)
    finally:
        await transport.close()


def objects() -> Sequence[Figure]:
    """Beside the same reads of ConfigMaps of the same size."""
    with fresh(components=("api",)) as cluster:
        asyncio.run(_objects(cluster))

        def rate(path: str, connections: int) -> Report:
            return run(pods.work(cluster, path, connections=connections, seconds=SECONDS))

        figures = []
        for name, suffix, connections in (("GET", "/thing-0", 16), (f"LIST {OBJECTS}", "", 4)):
            plain = rate(CONFIG_MAPS + suffix, connections).per_second
            custom = rate(path_of(0) + suffix, connections).per_second
            note = f"of ConfigMaps: {plain:,.0f} /s"
            figures.append(Figure(f"{name} custom objects", plain, "/s", custom, note, True))
    return figures


BENCHMARKS = (Benchmark("definitions", definitions), Benchmark("custom-objects", objects))

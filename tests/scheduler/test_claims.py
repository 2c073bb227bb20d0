"""The service gives devices to claims, and volumes to claims that wait for their first consumer."""

from __future__ import annotations

import asyncio

from tests.scheduler.test_cycle import node, pod
from tests.scheduler.test_devices import claim, device_class, gpu, part, request
from tests.scheduler.test_shell import INDEX as PLAIN
from tests.scheduler.test_shell import NODES, PODS, cluster
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource
from timonel.machinery.errors import Conflict
from timonel.objects.meta import Key
from timonel.scheduler.shell import Scheduler

__all__ = ["cluster"]

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", True)
SLICES = Resource("resource.k8s.io", "v1", "resourceslices", False)
CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", False)
PLAIN_ONES = [
    PLAIN.find(n) for n in ("nodes", "pods", "namespaces", "persistentvolumeclaims", "persistentvolumes")
]
INDEX = ResourceIndex([*PLAIN_ONES, *(ResourceInfo(r, "") for r in (CLAIMS, SLICES, CLASSES))])


async def prepared(cluster: MemoryTransport, *names: str) -> None:
    found = device_class("gpu")
    assert found is not None
    await cluster.create(CLASSES, found)
    await cluster.create(SLICES, part(gpu("g1"), gpu("g2")))
    for name in ("n1", "n2"):
        await cluster.create(NODES, node(name))
    for name in names:
        await cluster.create(CLAIMS, claim(request(), name=name))


def using(name: str, of: str) -> dict[str, object]:
    return pod(name, resourceClaims=[{"name": "g", "resourceClaimName": of}])


async def test_each_pod_gets_a_device_of_its_own(cluster: MemoryTransport) -> None:
    await prepared(cluster, "c1", "c2", "c3")
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        for number in (1, 2, 3):
            await cluster.create(PODS, using(f"p{number}", f"c{number}"))
        await asyncio.sleep(5)

        claims = [await cluster.get(CLAIMS, Key("shop", f"c{number}")) for number in (1, 2, 3)]
        given = [c.get("status", {}).get("allocation") for c in claims]
        assert [a and a["devices"]["results"][0]["device"] for a in given] == ["g1", "g2", None]
        assert claims[0]["status"]["reservedFor"][0]["name"] == "p1"
        nodes = [(await cluster.get(PODS, Key("shop", f"p{n}")))["spec"].get("nodeName") for n in (1, 2, 3)]
        assert nodes == ["n1", "n1", None]


async def test_two_pods_share_a_claim(cluster: MemoryTransport) -> None:
    await prepared(cluster, "c1")
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        for name in ("a", "b"):
            await cluster.create(PODS, using(name, "c1"))
        await asyncio.sleep(15)

        found = await cluster.get(CLAIMS, Key("shop", "c1"))
        assert sorted(r["name"] for r in found["status"]["reservedFor"]) == ["a", "b"]
        assert (await cluster.get(PODS, Key("shop", "b")))["spec"].get("nodeName") == "n1"


async def test_a_claim_that_changes_meanwhile_is_read_again(cluster: MemoryTransport) -> None:
    await prepared(cluster, "c1")
    refused = 0

    def fault(verb: str, resource: Resource, key: Key) -> None:
        nonlocal refused
        if resource == CLAIMS and "patch" in verb and refused < 2:
            refused += 1
            raise Conflict("the object has been modified")

    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        cluster.fault = fault
        await cluster.create(PODS, using("a", "c1"))
        await asyncio.sleep(5)

        assert (await cluster.get(PODS, Key("shop", "a")))["spec"].get("nodeName") == "n1"
        assert refused == 2

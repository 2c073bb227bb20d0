"""The service gives devices to claims, and volumes to claims that wait for their first consumer."""

from __future__ import annotations

import asyncio

from tests.scheduler.test_cycle import node, pod
from tests.scheduler.test_devices import claim, device_class, gpu, part, request
from tests.scheduler.test_shell import EVENTS, NODES, PODS, cluster
from tests.scheduler.test_shell import INDEX as PLAIN
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource, Unreachable
from timonel.machinery.errors import Conflict
from timonel.objects.meta import Key, Object
from timonel.scheduler.extendedresources import asked
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


# ---- devices that must be made ready, are taken back, or stand for extended resources


def conditions(claim: Object, **status: str) -> Object:
    (result,) = claim["status"]["allocation"]["devices"]["results"]
    told = [{"type": name, "status": value, "reason": "R", "message": "m"} for name, value in status.items()]
    device = {**{key: result[key] for key in ("driver", "pool", "device")}, "conditions": told}
    return {"status": {"devices": [device]}}


async def prepared_fabric(cluster: MemoryTransport) -> None:
    await prepared(cluster, "c")
    await cluster.patch(SLICES, Key("", "s"), {"spec": {"devices": [
        gpu("g1", bindingConditions=["attached"], bindingFailureConditions=["broken"]),
        gpu("g2", bindingConditions=["attached"], bindingFailureConditions=["broken"]),
    ]}})  # fmt: skip


async def test_a_pod_is_bound_once_its_device_is_ready(cluster: MemoryTransport) -> None:
    await prepared_fabric(cluster)
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        await cluster.create(PODS, using("p", "c"))
        await asyncio.sleep(60)
        found = await cluster.get(PODS, Key("shop", "p"))
        assert found["spec"].get("nodeName") is None
        assert found["status"]["nominatedNodeName"] == "n1"
        claim = await cluster.get(CLAIMS, Key("shop", "c"))
        assert claim["status"]["allocation"]["allocationTimestamp"]

        await cluster.patch(
            CLAIMS, Key("shop", "c"), conditions(claim, attached="True"), subresource="status"
        )
        await asyncio.sleep(1)

        assert (await cluster.get(PODS, Key("shop", "p")))["spec"]["nodeName"] == "n1"
        events = {e["reason"]: e["message"] for e in (await cluster.list(EVENTS)).items}
        assert events["BindingConditionsPending"] == "waiting for binding conditions for device on node n1"


async def test_a_device_that_breaks_is_given_back_and_another_one_tried(cluster: MemoryTransport) -> None:
    await prepared_fabric(cluster)
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        await cluster.create(PODS, using("p", "c"))
        await asyncio.sleep(1)
        claim = await cluster.get(CLAIMS, Key("shop", "c"))
        await cluster.patch(CLAIMS, Key("shop", "c"), conditions(claim, broken="True"), subresource="status")
        await asyncio.sleep(0.5)
        messages = [
            e["message"] for e in (await cluster.list(EVENTS)).items if e["reason"] == "FailedScheduling"
        ]
        assert messages[0] == (
            'running PreBind plugin "DynamicResources": claim c binding failed: reason=R, message="m"'
        )

        await asyncio.sleep(10)

        claim = await cluster.get(CLAIMS, Key("shop", "c"))
        assert "devices" not in claim["status"]  # what the driver said is of the former allocation
        messages = [
            e["message"] for e in (await cluster.list(EVENTS)).items if e["reason"] == "FailedScheduling"
        ]
        assert "deallocation of ResourceClaim completed" in messages[1]
        assert claim["status"]["allocation"]["devices"]["results"][0]["device"] == "g1"  # allocated anew


async def test_a_claim_that_nobody_uses_is_taken_from_a_node_that_the_pod_cannot_have(
    cluster: MemoryTransport,
) -> None:
    await prepared(cluster, "c")
    await cluster.patch(SLICES, Key("", "s"), {"spec": {"nodeName": None, "allNodes": True}})
    selector = {"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": ["gone"]}
    ]}]}  # fmt: skip
    result = {"request": "r", "driver": "gpu.example.com", "pool": "p", "device": "g1"}
    allocation = {"devices": {"results": [result]}, "nodeSelector": selector}
    await cluster.patch(
        CLAIMS, Key("shop", "c"), {"status": {"allocation": allocation}}, subresource="status"
    )
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        await cluster.create(PODS, using("p", "c"))
        await asyncio.sleep(10)

        assert (await cluster.get(PODS, Key("shop", "p")))["spec"]["nodeName"] == "n1"
        messages = [
            e["message"] for e in (await cluster.list(EVENTS)).items if e["reason"] == "FailedScheduling"
        ]
        assert messages == [
            "0/2 nodes are available: 2 resourceclaim not available on the node. "
            "deallocation of ResourceClaim completed, preemption: 0/2 nodes are available: "
            "2 Preemption is not helpful for scheduling."
        ]


def asking(name: str, resource: str, amount: str = "1") -> Object:
    found = pod(name)
    found["spec"]["containers"][0]["resources"] = {"requests": {resource: amount}}
    return found


async def test_devices_stand_for_extended_resources(cluster: MemoryTransport) -> None:
    await prepared(cluster)
    await cluster.patch(CLASSES, Key("", "gpu"), {"spec": {"extendedResourceName": "example.com/gpu"}})
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        await cluster.create(PODS, asking("a", "example.com/gpu"))
        await cluster.create(PODS, asking("b", "deviceclass.resource.kubernetes.io/gpu"))
        await cluster.create(PODS, asking("c", "example.com/gpu"))
        await cluster.create(PODS, asking("d", "example.com/other"))
        await asyncio.sleep(5)

        found = {n: await cluster.get(PODS, Key("shop", n)) for n in "abcd"}
        assert [p["spec"].get("nodeName") for p in found.values()] == ["n1", "n1", None, None]
        claims = {c["metadata"]["ownerReferences"][0]["name"]: c for c in (await cluster.list(CLAIMS)).items}
        assert sorted(claims) == ["a", "b"]
        mine = claims["a"]
        assert mine["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
        assert mine["spec"]["devices"]["requests"] == [
            {
                "name": "container-0-request-0",
                "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
            }
        ]
        assert mine["status"]["reservedFor"][0]["name"] == "a"
        container = found["a"]["spec"]["containers"][0]["name"]
        assert found["a"]["status"]["extendedResourceClaimStatus"] == {
            "resourceClaimName": mine["metadata"]["name"],
            "requestMappings": [
                {
                    "containerName": container,
                    "resourceName": "example.com/gpu",
                    "requestName": "container-0-request-0",
                }
            ],
        }
        message = found["c"]["status"]["conditions"][0]["message"]
        assert message.startswith("0/2 nodes are available: 2 cannot allocate all claims.")
        assert found["d"]["status"]["conditions"][0]["message"].startswith(
            "0/2 nodes are available: 2 Insufficient example.com/other."
        )


async def test_devices_that_stood_for_a_resource_are_free_once_the_claim_is_gone(
    cluster: MemoryTransport,
) -> None:
    await prepared(cluster)
    await cluster.patch(CLASSES, Key("", "gpu"), {"spec": {"extendedResourceName": "example.com/gpu"}})
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        for name in "abc":
            await cluster.create(PODS, asking(name, "example.com/gpu"))
        await asyncio.sleep(5)
        assert (await cluster.get(PODS, Key("shop", "c")))["spec"].get("nodeName") is None
        claims = {c["metadata"]["ownerReferences"][0]["name"]: c for c in (await cluster.list(CLAIMS)).items}
        key = Key("shop", claims["a"]["metadata"]["name"])

        await cluster.delete(PODS, Key("shop", "a"))
        await cluster.patch(CLAIMS, key, {"metadata": {"finalizers": None}})
        await cluster.delete(CLAIMS, key)
        await asyncio.sleep(3)

        assert (await cluster.get(PODS, Key("shop", "c")))["spec"]["nodeName"] == "n1"


async def test_a_node_that_offers_the_resource_itself_needs_no_claim(cluster: MemoryTransport) -> None:
    await prepared(cluster)
    await cluster.patch(CLASSES, Key("", "gpu"), {"spec": {"extendedResourceName": "example.com/gpu"}})
    await cluster.patch(
        NODES, Key("", "n2"), {"status": {"allocatable": {"example.com/gpu": "1"}}}, subresource="status"
    )
    await cluster.delete(SLICES, Key("", "s"))
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        await cluster.create(PODS, asking("a", "example.com/gpu"))
        await asyncio.sleep(2)

        assert (await cluster.get(PODS, Key("shop", "a")))["spec"]["nodeName"] == "n2"
        assert not (await cluster.list(CLAIMS)).items


async def test_a_claim_made_for_a_pod_that_is_not_bound_is_deleted(cluster: MemoryTransport) -> None:
    await prepared(cluster)
    await cluster.patch(CLASSES, Key("", "gpu"), {"spec": {"extendedResourceName": "example.com/gpu"}})
    refused = 0

    def fault(verb: str, resource: Resource, key: Key) -> None:
        nonlocal refused
        if verb == "create binding" and not refused:
            refused += 1
            raise Unreachable("the wire is cut")

    cluster.fault = fault
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        await cluster.create(PODS, asking("a", "example.com/gpu"))
        await asyncio.sleep(30)

        assert (await cluster.get(PODS, Key("shop", "a")))["spec"]["nodeName"] == "n1"
        (left,) = (await cluster.list(CLAIMS)).items
        status = (await cluster.get(PODS, Key("shop", "a")))["status"]
        assert status["extendedResourceClaimStatus"]["resourceClaimName"] == left["metadata"]["name"]


def test_init_containers_use_again_what_later_ones_will_have() -> None:
    def container(name: str, count: str, **fields: str) -> Object:
        return {"name": name, "resources": {"requests": {"cpu": "1", "example.com/gpu": count}}, **fields}

    spec = {
        "initContainers": [
            container("setup", "3"),
            container("sidecar", "1", restartPolicy="Always"),
            container("check", "2"),
        ],
        "containers": [container("main", "2")],
    }
    found = asked(spec, {"example.com/gpu": "gpu"})

    assert [(r["name"], r["exactly"]["count"]) for r in found.requests] == [
        ("container-1-request-1", 1),
        ("container-3-request-1", 2),
    ]
    assert [(m["containerName"], m["requestName"]) for m in found.mappings] == [
        ("sidecar", "container-1-request-1"),
        ("main", "container-3-request-1"),
        ("setup", "container-1-request-1"),
        ("setup", "container-3-request-1"),
        ("check", "container-3-request-1"),
    ]


def test_an_init_container_that_wants_more_asks_for_the_rest() -> None:
    def container(name: str, count: str) -> Object:
        return {"name": name, "resources": {"requests": {"example.com/gpu": count}}}

    spec = {"initContainers": [container("a", "3"), container("b", "4")], "containers": [container("c", "1")]}
    found = asked(spec, {"example.com/gpu": "gpu"})

    assert [(r["name"], r["exactly"]["count"]) for r in found.requests] == [
        ("container-1-request-0", 3),
        ("container-2-request-0", 1),
    ]
    assert [(m["containerName"], m["requestName"]) for m in found.mappings] == [
        ("c", "container-2-request-0"),
        ("a", "container-2-request-0"),
        ("a", "container-1-request-0"),
        ("b", "container-2-request-0"),
        ("b", "container-1-request-0"),
    ]

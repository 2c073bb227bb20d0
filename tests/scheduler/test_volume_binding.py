"""Claims that wait for their first consumer: capacity that drivers tell, and what comes of a binding."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.scheduler.test_cycle import Objects, decide, node, pod, world
from tests.scheduler.test_shell import EVENTS, NODES, PODS, cluster
from tests.scheduler.test_shell import INDEX as PLAIN
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource
from timonel.objects.meta import Key, Object
from timonel.scheduler.configuration import parse
from timonel.scheduler.shell import Scheduler

__all__ = ["cluster"]

CLAIMS = Resource("", "v1", "persistentvolumeclaims", True)
VOLUMES = Resource("", "v1", "persistentvolumes", False)
CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", False)
SELECTED = "volume.kubernetes.io/selected-node"
LATE: Object = {
    "metadata": {"name": "late"},
    "provisioner": "csi.example.com",
    "volumeBindingMode": "WaitForFirstConsumer",
}


def claim(name: str = "c", size: str = "10Gi") -> Object:
    resources = {"requests": {"storage": size}}
    spec = {"storageClassName": "late", "accessModes": ["ReadWriteOnce"], "resources": resources}
    return {"metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"}, "spec": spec}


def volume(name: str = "v", size: str = "20Gi", on: str = "") -> Object:
    spec: Object = {
        "storageClassName": "late",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size},
    }
    if on:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [on]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Available"}}


def using(name: str = "p", of: str = "c") -> Object:
    return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": of}}])


def capacity(amount: str | None, zone: str | None = "a", **fields: Any) -> Object:
    found: Object = {"metadata": {"name": "k"}, "storageClassName": "late", **fields}
    if amount is not None:
        found["capacity"] = amount
    if zone is not None:
        found["nodeTopology"] = {"matchLabels": {"zone": zone}}
    return found


FULL = (
    "0/1 nodes are available: 1 node(s) did not have enough free storage. no new claims to deallocate, preemption: "
    "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)


@pytest.mark.parametrize(
    ("tells", "capacities", "expected"),
    [
        (False, [], "n1"),
        (True, [], FULL),
        (True, [capacity("10Gi")], "n1"),
        (True, [capacity("9Gi")], FULL),
        (True, [capacity("9Gi"), capacity("11Gi")], "n1"),
        (True, [capacity("100Gi", "b")], FULL),  # in another zone
        (True, [capacity("100Gi", None)], FULL),  # nowhere
        (True, [capacity("100Gi", storageClassName="other")], FULL),
        (True, [capacity("100Gi", maximumVolumeSize="5Gi")], FULL),
        (True, [capacity("1Gi", maximumVolumeSize="50Gi")], "n1"),
        (True, [capacity(None)], FULL),
    ],
)
def test_capacity_that_a_driver_tells(tells: bool, capacities: list[Object], expected: str) -> None:
    driver = {"metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": tells}}
    reads = Objects(
        persistentvolumeclaims=[claim()],
        storageclasses=[LATE],
        csidrivers=[driver],
        csistoragecapacities=capacities,
    )

    assert decide(world([node("n1", labels={"zone": "a"})]), using(), reads) == expected


async def prepared(cluster: MemoryTransport, *volumes: Object) -> None:
    await cluster.create(CLASSES, LATE)
    await cluster.create(CLAIMS, claim())
    for each in volumes:
        await cluster.create(VOLUMES, each)
    for name in ("n1", "n2"):
        await cluster.create(NODES, node(name))


def scheduler(cluster: MemoryTransport, seconds: int = 600) -> Scheduler:
    tree = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"pluginConfig": [{"name": "VolumeBinding", "args": {"bindTimeoutSeconds": seconds}}]}],
    }
    return Scheduler(cluster, index=PLAIN, clock=SystemClock(), configuration=parse(tree, {}))


BOUND = {
    "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
    "spec": {"volumeName": "v"},
}


async def test_the_chosen_node_is_written_on_the_claim_and_the_pod_waits_for_its_volume(
    cluster: MemoryTransport,
) -> None:
    await prepared(cluster)
    async with running(scheduler(cluster)):
        await cluster.create(PODS, using())
        await asyncio.sleep(100)
        selected = (await cluster.get(CLAIMS, Key("shop", "c")))["metadata"]["annotations"][SELECTED]
        found = await cluster.get(PODS, Key("shop", "p"))
        assert (found["spec"].get("nodeName"), found["status"]["nominatedNodeName"]) == (None, selected)

        await cluster.patch(CLAIMS, Key("shop", "c"), BOUND)
        await asyncio.sleep(1)

        assert (await cluster.get(PODS, Key("shop", "p")))["spec"]["nodeName"] == selected


async def test_a_volume_that_fits_is_promised_to_the_claim(cluster: MemoryTransport) -> None:
    volumes = (
        volume("far", "10Gi", on="n1"),
        volume("large", "40Gi", on="n2"),
        volume("near", "30Gi", on="n2"),
    )
    await prepared(cluster, *volumes, volume("small", "9Gi", on="n2"))
    there = using()
    there["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "n2"}
    async with running(scheduler(cluster)):
        await cluster.create(PODS, there)
        await asyncio.sleep(1)
        promised = {
            v["metadata"]["name"]: v["spec"].get("claimRef", {}).get("uid")
            for v in (await cluster.list(VOLUMES)).items
        }
        uid = (await cluster.get(CLAIMS, Key("shop", "c")))["metadata"]["uid"]
        assert promised == {"far": None, "large": None, "near": uid, "small": None}

        await cluster.patch(CLAIMS, Key("shop", "c"), BOUND)
        await asyncio.sleep(1)
        assert (await cluster.get(PODS, Key("shop", "p")))["spec"]["nodeName"] == "n2"


@pytest.mark.parametrize(
    ("change", "after", "message"),
    [
        (
            {"metadata": {"annotations": {SELECTED: None}}},
            1,
            'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "c"',
        ),
        (None, 31, 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'),
    ],
)
async def test_a_volume_that_does_not_come_is_told_and_tried_again(
    cluster: MemoryTransport, change: Object | None, after: float, message: str
) -> None:
    await prepared(cluster)
    async with running(scheduler(cluster, 30)):
        await cluster.create(PODS, using())
        await asyncio.sleep(0.5)
        if change is not None:
            await cluster.patch(CLAIMS, Key("shop", "c"), change)
        await asyncio.sleep(after)
        events = [
            e["message"] for e in (await cluster.list(EVENTS)).items if e["reason"] == "FailedScheduling"
        ]
        assert events == [message]
        (condition,) = (await cluster.get(PODS, Key("shop", "p")))["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == ("SchedulerError", message)

        await asyncio.sleep(3)
        await cluster.patch(CLAIMS, Key("shop", "c"), BOUND)
        await cluster.create(VOLUMES, volume())
        await asyncio.sleep(3)

        assert (await cluster.get(PODS, Key("shop", "p")))["spec"].get("nodeName")


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        (None, 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v"'),
        ([], "PVC shop/p-v was not created for pod shop/p (pod is not owner)"),
        (["another"], "PVC shop/p-v was not created for pod shop/p (pod is not owner)"),
        (["p"], "n1"),
    ],
)
def test_an_ephemeral_volume_takes_no_claim_of_anothers(owners: list[str] | None, expected: str) -> None:
    claims = []
    if owners is not None:
        refs = [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": o, "controller": True} for o in owners
        ]
        claims = [claim("p-v")]
        claims[0]["metadata"]["ownerReferences"] = refs
    wanted = pod("p", volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}])
    reads = Objects(persistentvolumeclaims=claims, storageclasses=[LATE])

    said = decide(world([node("n1")]), wanted, reads)

    assert said == expected if expected == "n1" else said.startswith(f"0/1 nodes are available: {expected}.")

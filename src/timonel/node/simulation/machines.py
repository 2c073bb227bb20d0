"""What a simulated node is and says of itself: the object to make, its status, its heartbeat. Pure.

A Node is simulated when it says so: annotation `timonel.dev/simulated: "true"` (or kwok's `kwok.x-k8s.io/node: fake`),
so that anybody makes one with kubectl. `"stopped"` is a machine that was switched off: neither it nor its pods do
anything. Capacity that is in the object already stays, whatever its resources are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from timonel.node import nodestatus
from timonel.node.cri.runtime import Condition
from timonel.node.nodestatus import Identity, Machine, Observed
from timonel.objects.meta import Object, annotations_of, format_micro_time
from timonel.records import dataclass

ANNOTATION = "timonel.dev/simulated"
KWOK = ("kwok.x-k8s.io/node", "fake")
STOPPED = "stopped"
GIB = 1 << 30
DEFAULT_CPU, DEFAULT_MEMORY, DEFAULT_PODS = "8", "32Gi", "110"
ADDRESSES = ipaddress.ip_network("172.16.0.0/12")  # of nodes
POD_ADDRESSES = ipaddress.ip_network("198.18.0.0/15")  # of pods on nodes without a range of their own
LEASE_SECONDS = 40
RUNNING = (Condition("RuntimeReady", True), Condition("NetworkReady", True))


@dataclass(frozen=True, slots=True)
class Size:
    cpu: str = DEFAULT_CPU
    memory: str = DEFAULT_MEMORY
    pods: str = DEFAULT_PODS
    extended: Mapping[str, str] = field(default_factory=dict)

    def resources(self) -> dict[str, str]:
        return {
            "cpu": self.cpu,
            "ephemeral-storage": "100Gi",
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": self.memory,
            "pods": self.pods,
            **self.extended,
        }


def is_simulated(node: Object) -> bool:
    annotations = annotations_of(node)
    return annotations.get(ANNOTATION, "false") != "false" or annotations.get(KWOK[0]) == KWOK[1]


def is_stopped(node: Object) -> bool:
    return annotations_of(node).get(ANNOTATION) == STOPPED


def new_node(
    name: str, size: Size, labels: Mapping[str, str], taints: Sequence[Mapping[str, str]] = ()
) -> Object:
    """As whoever wants one creates it; the engine says the rest."""
    identity = _identity(name, "", labels, taints)
    node = nodestatus.new_node(identity, machine(name))
    node["metadata"]["annotations"][ANNOTATION] = "true"
    resources = size.resources()
    return {**node, "status": {"capacity": resources, "allocatable": dict(resources)}}


def with_range(node: Object, pods: str) -> Object:
    """A node to create that has its range of pod addresses already."""
    return {**node, "spec": {**(node.get("spec") or {}), "podCIDR": pods, "podCIDRs": [pods]}}


def without_range(node: Object) -> Object:
    spec = {k: v for k, v in (node.get("spec") or {}).items() if k not in ("podCIDR", "podCIDRs")}
    return {**node, "spec": spec}


def status(node: Object, ip: str, now: float) -> dict[str, Any]:
    """The whole status; what is there already of sizes and addresses is kept."""
    name, old = node["metadata"]["name"], node.get("status") or {}
    seen = Observed(now, machine(name), "simulated://1.0.0", RUNNING)
    found = nodestatus.status(_identity(name, ip, {}, ()), seen, old)
    sizes = old.get("capacity") or Size().resources()
    found["capacity"] = dict(sizes)
    found["allocatable"] = dict(old.get("allocatable") or sizes) | nodestatus.extended(old)
    if old.get("addresses"):
        found["addresses"] = old["addresses"]
    del found["images"]
    return found


def allocatable(node: Object) -> Mapping[str, str]:
    """What its pods may have, also before it has said so."""
    status = node.get("status") or {}
    found: Mapping[str, str] = status.get("allocatable") or status.get("capacity") or Size().resources()
    return found


def hides_capacity(node: Object) -> bool:
    """Whether somebody advertises a resource that nobody can have yet."""
    status = node.get("status") or {}
    extended = nodestatus.extended(status)
    return bool(extended) and not extended.items() <= (status.get("allocatable") or {}).items()


def conditions(node: Object, now: float) -> list[dict[str, Any]]:
    """As a heartbeat brings them."""
    seen = Observed(now, machine(node["metadata"]["name"]), "", RUNNING)
    return nodestatus.conditions(seen, (node.get("status") or {}).get("conditions") or ())


def is_ready(node: Object) -> bool:
    found = (node.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in found)


def address_of(node: Object) -> str:
    found = (node.get("status") or {}).get("addresses") or ()
    return next((a["address"] for a in found if a["type"] == "InternalIP"), "")


def lease(node: Object, now: float) -> Object:
    name, uid = node["metadata"]["name"], node["metadata"]["uid"]
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}],
        },
        "spec": renewed(name, now),
    }


def renewed(name: str, now: float) -> dict[str, Any]:
    return {
        "holderIdentity": name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": format_micro_time(now),
    }


def machine(name: str) -> Machine:
    """Nothing is measured; sizes come from the object."""
    return Machine(
        cpus=8,
        memory=32 * GIB,
        memory_available=30 * GIB,
        disk=100 * GIB,
        disk_available=90 * GIB,
        pids=4_194_304,
        pids_used=100,
        machine_id=name,
        system_uuid=name,
        boot_id=name,
        kernel="simulated",
        os_image="Timonel simulated node",
        architecture="amd64",
    )


def _identity(name: str, ip: str, labels: Mapping[str, str], taints: Sequence[Mapping[str, str]]) -> Identity:
    return Identity(name, ip, 0, int(DEFAULT_PODS), labels, {}, taints, "", "")


def names(prefix: str, count: int, taken: frozenset[str] = frozenset()) -> Iterator[str]:
    """So many names that are not taken: prefix-1, prefix-2, …"""
    number = 0
    while count > 0:
        number += 1
        if (name := f"{prefix}-{number}") not in taken:
            count -= 1
            yield name

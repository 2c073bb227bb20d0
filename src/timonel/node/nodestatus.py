"""The Node object as the agent keeps it: labels, capacity, conditions, addresses, versions, images. Pure.

Upstream: pkg/kubelet/nodestatus/setters.go, kubelet_node_status.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from timonel.machinery.quantity import Quantity
from timonel.node.cri.runtime import Condition, Image
from timonel.objects.meta import Object, format_time
from timonel.records import dataclass

KUBELET_VERSION = "v1.36.2+timonel"
IMAGES_LIMIT = 50
MEMORY_RESERVED = 100 << 20  # hard eviction threshold: memory.available<100Mi
DISK_RESERVED = 0.10  # nodefs.available<10%
# Recursive read-only mounts are made by the node itself, whatever the runtime can do.
_FEATURES = {"recursiveReadOnlyMounts": True, "userNamespaces": False}
RUNTIME_HANDLERS = [{"name": name, "features": _FEATURES} for name in ("", "runc")]


@dataclass(frozen=True, slots=True)
class Machine:
    """What was read from the machine (`machine.read`)."""

    cpus: int
    memory: int
    memory_available: int
    disk: int
    disk_available: int
    pids: int
    pids_used: int
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str
    huge_pages: Mapping[str, int] = field(
        default_factory=lambda: {"1Gi": 0, "2Mi": 0}
    )  # bytes set aside, by size


@dataclass(frozen=True, slots=True)
class Identity:
    name: str
    ip: str
    port: int  # of the agent's HTTPS server
    max_pods: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    pod_cidr: str
    provider_id: str
    reserved: Mapping[str, int] = field(default_factory=dict)  # thousandths of cpu, else whole units


@dataclass(frozen=True, slots=True)
class Observed:
    now: float
    machine: Machine
    runtime_version: str
    runtime_conditions: Sequence[Condition] | None  # None: the runtime does not answer
    images: Sequence[Image] = ()
    pressures: frozenset[str] = (
        frozenset()
    )  # conditions that are true: MemoryPressure, DiskPressure, PIDPressure
    volumes_in_use: Sequence[str] = ()  # of CSI drivers
    tells_handlers: bool = False  # a runtime that has handlers
    problem: str = ""  # of the node's own, for which it is not ready
    devices: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)
    # resource of a device plugin -> how many there are and are well; None: its plugin is gone for good


def new_node(identity: Identity, machine: Machine) -> Object:
    """The object to register, without status."""
    arch = machine.architecture
    spec: dict[str, Any] = (
        {"podCIDR": identity.pod_cidr, "podCIDRs": [identity.pod_cidr]} if identity.pod_cidr else {}
    )
    if identity.provider_id:
        spec["providerID"] = identity.provider_id
    if identity.taints:
        spec["taints"] = [dict(t) for t in identity.taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": identity.name,
            "labels": {**standard_labels(identity.name, arch), **identity.labels},
            "annotations": {
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                **identity.annotations,
            },
        },
        "spec": spec,
    }


def standard_labels(name: str, arch: str) -> dict[str, str]:
    return {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }


def _kibi(number: int) -> str:
    return f"{number // 1024}Ki"


def _mebi(number: int) -> str:
    for size, unit in ((1 << 30, "Gi"), (1 << 20, "Mi")):
        if number and number % size == 0:
            return f"{number // size}{unit}"
    return _kibi(number) if number else "0"


def capacity(identity: Identity, machine: Machine) -> dict[str, str]:
    return {
        "cpu": str(machine.cpus),
        "ephemeral-storage": _kibi(machine.disk),
        **{f"hugepages-{size}": _mebi(bytes_) for size, bytes_ in sorted(machine.huge_pages.items())},
        "memory": _kibi(machine.memory),
        "pods": str(identity.max_pods),
    }


def allocatable(identity: Identity, machine: Machine) -> dict[str, str]:
    """Capacity less what is reserved and what hard eviction keeps free."""
    reserved = identity.reserved
    milli = max(machine.cpus * 1000 - reserved.get("cpu", 0), 0)
    huge = sum(machine.huge_pages.values())
    memory = machine.memory - MEMORY_RESERVED - reserved.get("memory", 0) - huge
    disk = int(machine.disk * (1 - DISK_RESERVED)) - reserved.get("ephemeral-storage", 0)
    return {
        **capacity(identity, machine),
        "cpu": f"{milli}m" if milli % 1000 else str(milli // 1000),
        "ephemeral-storage": str(max(disk, 0)),
        "memory": _kibi(max(memory, 0)),
    }


def extended(status_: Mapping[str, Any]) -> dict[str, str]:
    """Resources that an administrator advertises by writing them into the capacity (`example.com/dongle`).

    All of them can be allocated. Upstream: pkg/kubelet/nodestatus/setters.go (MachineInfo).
    """
    return {name: amount for name, amount in (status_.get("capacity") or {}).items() if "/" in name}


def status(identity: Identity, seen: Observed, old: Mapping[str, Any]) -> dict[str, Any]:
    machine = seen.machine
    advertised = {name: n for name, n in extended(old).items() if name not in seen.devices}
    there = {name: counts for name, counts in seen.devices.items() if counts is not None}
    return {
        "addresses": [
            {"type": "InternalIP", "address": identity.ip},
            {"type": "Hostname", "address": identity.name},
        ],
        "allocatable": allocatable(identity, machine) | advertised | {n: str(c[1]) for n, c in there.items()},
        "capacity": capacity(identity, machine) | advertised | {n: str(c[0]) for n, c in there.items()},
        "conditions": conditions(seen, old.get("conditions") or ()),
        **_volumes_in_use(seen, old),
        **({"runtimeHandlers": RUNTIME_HANDLERS} if seen.tells_handlers else {}),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.port}},
        "images": [_image(i) for i in sorted(seen.images, key=lambda i: -i.size)[:IMAGES_LIMIT]],
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": seen.runtime_version,
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": KUBELET_VERSION,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
        },
    }


def _volumes_in_use(seen: Observed, old: Mapping[str, Any]) -> dict[str, Any]:
    """Told only by nodes that have such volumes, or had."""
    if not seen.volumes_in_use and not old.get("volumesInUse"):
        return {}
    return {"volumesInUse": list(seen.volumes_in_use)}


def _image(image: Image) -> dict[str, Any]:
    return {"names": [*image.digests, *image.tags], "sizeBytes": image.size}


def conditions(seen: Observed, old: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    before = {c["type"]: c for c in old}
    found = [
        _pressure("MemoryPressure", "MemoryPressure" in seen.pressures, "Memory", "memory"),
        _pressure("DiskPressure", "DiskPressure" in seen.pressures, "Disk", "disk"),
        _pressure("PIDPressure", "PIDPressure" in seen.pressures, "PID", "PID"),
        _ready(seen),
    ]
    now = format_time(seen.now)
    for condition in found:
        last = before.get(condition["type"])
        is_same = last is not None and last["status"] == condition["status"]
        condition["lastHeartbeatTime"] = now
        condition["lastTransitionTime"] = last["lastTransitionTime"] if last is not None and is_same else now
    own = {c["type"] for c in found}
    return [*found, *(dict(c) for t, c in before.items() if t not in own)]


def _pressure(type_: str, is_high: bool, noun: str, word: str) -> dict[str, Any]:
    insufficient = {"Memory": "KubeletHasInsufficientMemory", "PID": "KubeletHasInsufficientPID"}
    sufficient = {
        "Memory": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "Disk": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PID": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    }
    if is_high:
        reason = insufficient.get(noun, "KubeletHasDiskPressure")
        message = (
            "kubelet has disk pressure" if noun == "Disk" else f"kubelet has insufficient {word} available"
        )
        return {"type": type_, "status": "True", "reason": reason, "message": message}
    reason, message = sufficient[noun]
    return {"type": type_, "status": "False", "reason": reason, "message": message}


def _ready(seen: Observed) -> dict[str, Any]:
    problems = []
    if seen.runtime_conditions is None:
        problems.append("container runtime is down")
    else:
        for condition in seen.runtime_conditions:
            if not condition.status:
                what = (
                    "container runtime network not ready: NetworkReady"
                    if condition.type == "NetworkReady"
                    else (f"container runtime not ready: {condition.type}")
                )
                problems.append(f"{what}=false reason:{condition.reason} message:{condition.message}")
    if seen.problem:
        problems.append(seen.problem)
    if problems:
        message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": message}
    return {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
    }


def is_worth_sending(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether anything but heartbeat times and fluctuating figures differs (the Lease says that we are alive)."""
    return _essence(old) != _essence(new)


def _essence(status_: Mapping[str, Any]) -> dict[str, Any]:
    """An API server leaves out what is empty, and may write an amount in another way (32Gi for 33554432Ki)."""
    names = ("addresses", "daemonEndpoints", "images", "nodeInfo", "runtimeHandlers")
    essence: dict[str, Any] = {name: status_.get(name) or None for name in names}
    for sizes in ("allocatable", "capacity"):
        essence[sizes] = {n: Quantity.parse(text) for n, text in (status_.get(sizes) or {}).items()}
    essence["conditions"] = {
        c["type"]: (c["status"], c.get("reason"), c.get("message")) for c in status_.get("conditions") or ()
    }
    essence["volumesInUse"] = status_.get("volumesInUse") or []
    return essence

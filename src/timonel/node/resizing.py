"""Changing what running containers may use: what the spec asks for, what the node gave, what the kernel was told. Pure.

A pod's spec says what is wanted. The node decides whether it can be given (`verdict`); until then the pod runs, and is
counted, with what it was given before (`allotted`). What was given is then told to the runtime, container by container;
some ask to be restarted for it (`resizePolicy`). The pod's conditions say how far this has come.

Upstream: pkg/kubelet/allocation/allocation_manager.go, handlers.go, kuberuntime_manager.go (computePodResizeAction),
pkg/kubelet/events/event.go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from timonel.machinery.quantity import Quantity
from timonel.node import admission, manifests, podresources
from timonel.objects.meta import Object
from timonel.records import dataclass

RESIZABLE = ("cpu", "memory")
DEFERRED, INFEASIBLE = "Deferred", "Infeasible"
Allotment = Mapping[str, Mapping[str, Any]]  # container -> its resources, as a spec writes them


@dataclass(frozen=True, slots=True)
class Pending:
    """Why the node has not given what the spec asks for: Deferred (later, maybe) or Infeasible (never here)."""

    reason: str
    message: str


def resizable(pod: Object) -> Iterator[Mapping[str, Any]]:
    """Containers whose resources may change while they run."""
    yield from (c for c in pod["spec"].get("initContainers") or () if podresources.is_sidecar(c))
    yield from pod["spec"]["containers"]


def wanted(pod: Object) -> Allotment:
    return {c["name"]: c.get("resources") or {} for c in resizable(pod)}


def given_before(pod: Object) -> Allotment:
    """What an earlier life of the agent gave, as the pod's status has it; a container that never ran has its spec's."""
    status = pod.get("status") or {}
    known = {
        s["name"]: s["resources"]
        for key in ("containerStatuses", "initContainerStatuses")
        for s in status.get(key) or ()
        if s.get("resources") and s.get("containerID")
    }
    return {name: known.get(name, spec) for name, spec in wanted(pod).items()}


def allotted(pod: Object, given: Allotment) -> Object:
    """The pod with what it was given in place of what it asks for; itself where that is the same."""
    if all(is_same(c.get("resources") or {}, given.get(c["name"], {})) for c in resizable(pod)):
        return pod
    spec = dict(pod["spec"])
    for kind in ("containers", "initContainers"):
        if spec.get(kind):
            spec[kind] = [_with(c, given) for c in spec[kind]]
    return {**pod, "spec": spec}


def _with(container: Mapping[str, Any], given: Allotment) -> Mapping[str, Any]:
    own = given.get(container["name"])
    return container if own is None else {**container, "resources": dict(own)}


def is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return not changed(one, other)


def changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Which of cpu and memory differ, in requests or limits; 1000m is 1."""
    found = set[str]()
    for side in ("requests", "limits"):
        before, after = one.get(side) or {}, other.get(side) or {}
        found |= {name for name in RESIZABLE if not _equal(before.get(name), after.get(name))}
    return found


def _equal(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return Quantity.parse(str(one)).nanos == Quantity.parse(str(other)).nanos


def asks_for_restart(container: Mapping[str, Any], resources: Iterable[str]) -> bool:
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    return any(policies.get(name) == "RestartContainer" for name in resources)


def verdict(
    pod: Object,
    others: Iterable[Object],
    allocatable: Mapping[str, str],
    asks: Callable[[Object], Mapping[str, int]],
) -> Pending | None:
    """None: the node can give it. `pod` asks for what is new; `others` count with what they were given."""
    if manifests.is_static(pod):
        return Pending(INFEASIBLE, "In-place resize of static-pods is not supported")
    requests = podresources.requests(pod)
    for name in ("memory", "cpu"):
        capacity = podresources.amount(allocatable.get(name), name)
        if requests.get(name, 0) > capacity:
            message = f"{name}, requested: {requests[name]}, capacity: {capacity}"
            return Pending(INFEASIBLE, f"Node didn't have enough capacity: {message}")
    refusal = admission.short_of(pod, others, allocatable, asks)
    return None if refusal is None else Pending(DEFERRED, refusal.message.removeprefix(admission.REJECTED))


def conditions(pending: Pending | None, *, in_progress: bool, error: str) -> dict[str, tuple[str, str]]:
    """Type -> (reason, message); all of them are true."""
    found = dict[str, tuple[str, str]]()
    if pending is not None:
        found["PodResizePending"] = (pending.reason, pending.message)
    if in_progress:
        found["PodResizeInProgress"] = ("Error" if error else "", error)
    return found


def event_message(what: str, pod: Object, error: str = "") -> str:
    """`Pod resize started: {…}`, with the resources of all containers."""
    spec = pod["spec"]
    summary: dict[str, Any] = {}
    for key in ("initContainers", "containers"):
        listed = [{"name": c["name"], "resources": c.get("resources") or {}} for c in resizable_of(spec, key)]
        if listed:
            summary[key] = listed
    summary["generation"] = pod["metadata"].get("generation", 0)
    if error:
        summary["error"] = error
    return f"Pod resize {what}: {json.dumps(summary, separators=(',', ':'))}"


def resizable_of(spec: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = spec.get(key) or []
    return [c for c in found if key == "containers" or podresources.is_sidecar(c)]

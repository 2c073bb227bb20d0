"""Nodes that fell silent become Unknown, and a node's conditions become taints that keep or drive pods away.

A heartbeat is a renewed Lease or a posted status. Without one for 50 s (60 s for a node that never posted any) the
conditions turn Unknown, but not within 50 s after the controller was started or the clock was set; the next pass, which
that wakes, sets the taints, and pods there stop being ready. Pods are driven away from one node of a zone after the
other, and not at all where so many are silent that the fault is rather in between (`objects/zones.py`).

Watches   nodes; leases.coordination.k8s.io (of nodes); pods (read only)
Writes    nodes (spec.taints, two labels), nodes/status, pods/status
Upstream  pkg/controller/nodelifecycle/node_lifecycle_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from itertools import islice
from typing import Any

from timonel.control.actions import Action, Outcome, Patch, Plan, Record
from timonel.control.declare import Cache, ControllerType, Memory, Watch, nobody
from timonel.objects import conditions, nodes, pods, zones
from timonel.objects.indexing import by_node
from timonel.objects.meta import (
    Key,
    Object,
    format_time,
    is_deleting,
    key_of,
    labels_of,
    nested,
    parse_time,
    uid_of,
)
from timonel.records import dataclass

RESOURCE = "nodes"
LEASES = "leases.coordination.k8s.io"
LEASE_NAMESPACE = "kube-node-lease"
MONITOR_GRACE = 50.0
STARTUP_GRACE = 60.0
WORTH_TELLING = 200  # nodes in the cluster: of each one of so many it is told when it comes and goes
AGAIN = 30.0  # seconds until the next look at a zone from which nothing is driven away
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURES = {
    "MemoryPressure": nodes.MEMORY_PRESSURE,
    "DiskPressure": nodes.DISK_PRESSURE,
    "PIDPressure": nodes.PID_PRESSURE,
    "NetworkUnavailable": nodes.NETWORK_UNAVAILABLE,
}
_RENAMED = {
    "kubernetes.io/os": "beta.kubernetes.io/os",
    "kubernetes.io/arch": "beta.kubernetes.io/arch",
}
_MANAGED = {nodes.NOT_READY, nodes.UNREACHABLE, nodes.UNSCHEDULABLE, *_PRESSURES.values()}


@dataclass(frozen=True, slots=True)
class Observed:
    """`pods`: those of a node that is not ready; of others nobody asks. `since`: when we began to listen. `outlook`:
    whether and when a node that is not ready may be emptied. `is_new`: this is the first pass over it."""

    lease: Object | None
    pods: Sequence[Object]
    now: float
    since: float = 0.0
    outlook: zones.Outlook = field(default_factory=zones.Outlook)
    is_new: bool = False


def observe(desired: Object, cache: Cache) -> Observed:
    name = desired["metadata"]["name"]
    here: Sequence[Object] = ()
    if not nodes.is_ready(desired):
        here = cache.by("pods", by_node, name)
    lease = cache.get(LEASES, Key(LEASE_NAMESPACE, name))
    outlook = zones.Outlook()
    if (nodes.condition_of(desired, "Ready") or {"status": "True"})["status"] != "True":
        outlook = zones.outlook(desired, cache.list(RESOURCE), cache.now())
    few = cache.count(RESOURCE) <= WORTH_TELLING
    return Observed(lease, here, cache.now(), cache.steady_since(), outlook, is_new=few)


def recall(observed: Observed, memory: Any) -> Observed:
    return replace(observed, is_new=False)


def remember(desired: Object, observed: Observed, outcome: Outcome) -> Any:
    return True


def expiry(desired: Object, lease: Object | None, since: float) -> float:
    """When the node counts as silent, which is not before we have listened long enough ourselves."""
    ready = nodes.condition_of(desired, "Ready")
    renewed = parse_time(nested(lease, "spec", "renewTime")) or 0.0
    posted = parse_time((ready or {}).get("lastHeartbeatTime")) or 0.0
    created = parse_time(desired["metadata"].get("creationTimestamp")) or 0.0
    return max(max(renewed, posted, since) + MONITOR_GRACE, created + STARTUP_GRACE)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if is_deleting(desired):
        return Plan()
    left = expiry(desired, observed.lease, observed.since) - observed.now
    if left <= 0:
        silenced = _silence(desired, observed.now)
        if silenced:
            return Plan((*_registered(desired, observed), *silenced))
    renamed = _relabel(desired)
    if renamed:  # which changes the node: the next pass, which that wakes, sees to the rest
        return Plan((*_registered(desired, observed), *renamed))
    actions = [*_registered(desired, observed), *_taint(desired, observed), *_mark_pods(desired, observed)]
    waits = [left, _turn(desired, observed)]
    return Plan(tuple(actions), min((w for w in waits if w > 0), default=None))


def _registered(desired: Object, observed: Observed) -> list[Action]:
    return [_told(desired, "RegisteredNode", "Registered Node {} in Controller")] if observed.is_new else []


def _relabel(desired: Object) -> list[Action]:
    """The older names of two labels say what the newer ones say."""
    labels = labels_of(desired)
    wanted = {
        old: labels[new] for new, old in _RENAMED.items() if new in labels and labels.get(old) != labels[new]
    }
    if not wanted:
        return []
    patch = {"metadata": {"labels": wanted}}
    return [Patch(RESOURCE, key_of(desired), patch, uid=uid_of(desired), missing_ok=True)]


def _told(node: Object, reason: str, text: str) -> Record:
    name = node["metadata"]["name"]
    return Record("Normal", reason, f"Node {name} event: {text.format(name)}", about=node)


def absent(key: Key, cache: Cache) -> Plan:
    """Differs from upstream: large clusters are not told of every node that comes and goes."""
    if cache.count(RESOURCE) > WORTH_TELLING:
        return Plan()
    gone = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": key.name}}
    return Plan((_told(gone, "RemovingNode", "Removing Node {} from Controller"),))


def _turn(desired: Object, observed: Observed) -> float:
    """When to look whether the node may be emptied; 0 where there is nothing to wait for."""
    empties = any(effect == "NoExecute" for _, effect in wanted_taints(desired))
    if not empties or zones.evicted_at(desired) is not None:
        return 0.0
    return observed.outlook.wait if observed.outlook.pace is not None else AGAIN


def _silence(desired: Object, now: float) -> list[Action]:
    """Every condition that the node itself reports is Unknown from now on."""
    known = list(nested(desired, "status", "conditions") or ())
    changed = known
    for type_ in _WATCHED:
        current = conditions.find(changed, type_)
        if current is not None and current["status"] == "Unknown":
            continue
        if current is None:
            new = conditions.make(
                type_, "Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status.", now
            )
            new["lastHeartbeatTime"] = desired["metadata"].get("creationTimestamp")
        else:
            text = "Kubelet stopped posting node status."
            new = {**current, **conditions.make(type_, "Unknown", "NodeStatusUnknown", text, now)}
        changed = [*(c for c in changed if c["type"] != type_), new]
    if changed == known:
        return []
    patch = {"status": {"conditions": changed}, **_at_version(desired)}
    actions: list[Action] = [
        Patch(RESOURCE, key_of(desired), patch, subresource="status", uid=uid_of(desired))
    ]
    if nodes.is_ready(desired):
        text = f"Node {desired['metadata']['name']} status is now: NodeNotReady"
        actions.append(Record("Normal", "NodeNotReady", text))
    return actions


def _at_version(desired: Object) -> Object:
    """Refused when the node posts at the same time: what it says is newer."""
    return {"metadata": {"resourceVersion": desired["metadata"]["resourceVersion"]}}


def wanted_taints(desired: Object) -> list[tuple[str, str]]:
    """(key, effect) of the taints that the conditions and spec.unschedulable call for."""
    ready = nodes.condition_of(desired, "Ready")
    wanted: list[tuple[str, str]] = []
    if ready is not None and ready["status"] != "True":
        key = nodes.NOT_READY if ready["status"] == "False" else nodes.UNREACHABLE
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    for type_, key in _PRESSURES.items():
        if conditions.is_true(nested(desired, "status", "conditions"), type_):
            wanted.append((key, "NoSchedule"))
    if desired.get("spec", {}).get("unschedulable"):
        wanted.append((nodes.UNSCHEDULABLE, "NoSchedule"))
    return wanted


def allowed_taints(desired: Object, outlook: zones.Outlook) -> list[tuple[str, str]]:
    """Of those that the conditions call for: pods are driven away when it is the node's turn."""
    wanted = wanted_taints(desired)
    begun = zones.evicted_at(desired) is not None
    turn = outlook.pace is not None and outlook.wait <= 0
    if not outlook.cut_off and (begun or turn):
        return wanted
    return [(key, effect) for key, effect in wanted if effect != "NoExecute"]


def _taint(desired: Object, observed: Observed) -> list[Action]:
    wanted, now = allowed_taints(desired, observed.outlook), observed.now
    current = nodes.taints_of(desired)
    kept: list[nodes.Taint] = []
    for taint in current:
        is_ours = taint["key"] in _MANAGED and taint["effect"] in ("NoSchedule", "NoExecute")
        # A node registers itself as not ready before it has posted any condition.
        undecided = taint["key"] == nodes.NOT_READY and nodes.condition_of(desired, "Ready") is None
        if not is_ours or undecided or (taint["key"], taint["effect"]) in wanted:
            kept.append(taint)
    have = {(t["key"], t["effect"]) for t in kept}
    added = [
        {"key": key, "effect": effect, "timeAdded": format_time(now)}
        for key, effect in wanted
        if (key, effect) not in have
    ]
    if len(kept) == len(current) and not added:
        return []
    patch = {"spec": {"taints": [*kept, *added] or None}, **_at_version(desired)}
    return [Patch(RESOURCE, key_of(desired), patch, uid=uid_of(desired))]


def _mark_pods(desired: Object, observed: Observed) -> list[Action]:
    """Pods that were ready before the node ceased to be; what the node says of them later stands."""
    ready = nodes.condition_of(desired, "Ready")
    if ready is None or ready["status"] == "True":
        return []
    since = parse_time(ready.get("lastTransitionTime")) or 0.0
    actions: list[Action] = []
    for pod in observed.pods:
        at = pods.ready_since(pod)
        if at is None or at > since or is_deleting(pod):
            continue
        new = {
            **(pods.condition_of(pod, "Ready") or {}),
            "status": "False",
            "lastTransitionTime": format_time(observed.now),
        }
        patch, key, uid = {"status": {"conditions": [new]}}, key_of(pod), uid_of(pod)
        actions.append(
            Patch("pods", key, patch, kind="strategic", subresource="status", uid=uid, missing_ok=True)
        )
        actions.append(Record("Warning", "NodeNotReady", "Node is not ready", about=pod))
    return actions


def _silent_ones(node: Object, cache: Cache) -> Iterable[Key]:
    """Where the last node falls silent, what was begun is taken back; where the first one answers, it goes on."""
    everyone = cache.list(RESOURCE)
    if len(list(islice(filter(nodes.is_ready, everyone), 2))) < 2:
        return [key_of(other) for other in everyone if not nodes.is_ready(other)]
    return ()


def _readiness_changed(old: Object, new: Object) -> bool:
    return nodes.is_ready(old) != nodes.is_ready(new)


def _its_node(lease: Object, cache: Cache) -> Iterable[Key]:
    key = Key("", lease["metadata"]["name"])
    if lease["metadata"]["namespace"] != LEASE_NAMESPACE or cache.get(RESOURCE, key) is None:
        return ()
    return (key,)


def _renewal_matters(old: Object, new: Object) -> bool:
    """Renewals come every few seconds from every node; whoever looks when the last one is old sees the newest."""
    return False


NODE_LIFECYCLE = ControllerType(
    name="node-controller",
    watches=(
        Watch(RESOURCE),
        Watch(RESOURCE, wakes=_silent_ones, matters=_readiness_changed),
        Watch(LEASES, wakes=_its_node, matters=_renewal_matters),
        Watch("pods", wakes=nobody),
    ),
    observe=observe,
    reconcile=reconcile,
    absent=absent,
    memory=Memory(recall, remember),
    watches_life=True,
)

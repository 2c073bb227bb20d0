"""EndpointSlices: the addresses behind each Service that has a selector, at most 100 to a slice.

Slices are reused: an endpoint stays in the slice it is in, so one pod's change writes one slice. New endpoints go to
slices that change anyway, then to those with room, then to new ones.

Watches   services; pods (wake the Services that select them); endpointslices.discovery.k8s.io; nodes (read only)
Writes    endpointslices.discovery.k8s.io
Upstream  pkg/controller/endpointslice, staging/src/k8s.io/endpointslice/reconciler.go
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from timonel.control.actions import Action, Create, Delete, Plan, Told, Update
from timonel.control.declare import Cache, ControllerType, Watch, nobody, selecting
from timonel.objects import pods, services
from timonel.objects.indexing import BySelector
from timonel.objects.meta import (
    Key,
    Object,
    annotations_of,
    controller_ref,
    is_deleting,
    key_of,
    labels_of,
    uid_of,
)
from timonel.records import dataclass

RESOURCE = "endpointslices.discovery.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
MAX_ENDPOINTS = 100
_OURS = {SERVICE_NAME, MANAGED_BY, services.HEADLESS_LABEL}
Endpoint = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    """`zones`: zone by node name."""

    pods: Sequence[Object]
    slices: Sequence[Object]
    zones: Mapping[str, str]


def observe(desired: Object, cache: Cache) -> Observed:
    namespace, name = desired["metadata"]["namespace"], desired["metadata"]["name"]
    selector = services.selector_of(desired)
    behind = (
        cache.select("pods", namespace, lambda labels: selector.items() <= labels.items(), selector)
        if selector
        else ()
    )

    def is_ours(labels: dict[str, str]) -> bool:
        return labels.get(SERVICE_NAME) == name and labels.get(MANAGED_BY) == MANAGER

    zones: dict[str, str] = {}
    for node in set(map(pods.node_of, behind)):
        zones[node] = services.zone_of(cache.get("nodes", Key("", node)))
    return Observed(behind, cache.select(RESOURCE, namespace, is_ours, {SERVICE_NAME: name}), zones)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if is_deleting(desired) or not services.gets_endpoints(desired):
        return Plan()
    slices = [s for s in observed.slices if not is_deleting(s)]
    families = tuple(services.families(desired))
    actions: list[Action] = [_delete(s) for s in slices if s["addressType"] not in families]
    for family in families:
        mine = [s for s in slices if s["addressType"] == family]
        actions += _family(desired, observed, family, mine)
    return Plan(tuple(actions))


def _family(desired: Object, observed: Observed, family: str, slices: Sequence[Object]) -> list[Action]:
    wanted: dict[str, dict[str, Endpoint]] = {}
    ports_of: dict[str, list[services.Port]] = {}
    for pod in observed.pods:
        found = services.addresses(pod, family)
        if not found or not services.may_have_endpoint(pod, terminating=True):
            continue
        ports = services.endpoint_ports(desired, pod)
        if not ports and desired["spec"].get("ports"):
            continue
        signature = _signature(ports)
        ports_of[signature] = ports
        wanted.setdefault(signature, {})[uid_of(pod)] = _endpoint(desired, observed, pod, found[:1])
    if not wanted:
        # A placeholder tells readers that the Service is known and has nothing behind it.
        ports_of[_signature([])] = []
        wanted[_signature([])] = {}
    actions: list[Action] = []
    by_ports: dict[str, list[Object]] = {}
    for found_slice in sorted(slices, key=lambda s: s["metadata"]["name"]):
        by_ports.setdefault(_signature(found_slice.get("ports") or []), []).append(found_slice)
    for signature, group in by_ports.items():
        if signature not in wanted:
            actions += map(_delete, group)
    for signature, endpoints in sorted(wanted.items()):
        actions += _pack(desired, family, ports_of[signature], endpoints, by_ports.get(signature, []))
    # Creates last: a reader may see an endpoint twice for a moment, but Updates must not lose one.
    return sorted(
        (_stamped(desired, observed, action) for action in actions), key=lambda a: isinstance(a, Delete)
    )


def _stamped(desired: Object, observed: Observed, action: Action) -> Action:
    """What is written says since when it should have been."""
    if not isinstance(action, Create | Update):
        return action
    known = [e for s in observed.slices for e in s.get("endpoints") or ()]
    changed = {_pod_uid(e) for e in action.obj.get("endpoints") or () if e not in known}
    at = services.triggered_at(
        None if observed.slices else desired, (p for p in observed.pods if uid_of(p) in changed)
    )
    meta = {k: v for k, v in action.obj["metadata"].items() if k != "annotations"}
    noted = services.with_trigger(annotations_of(action.obj), at)
    obj = {**action.obj, "metadata": {**meta, **({"annotations": noted} if noted else {})}}
    return replace(action, obj=obj, failed=_failed(desired, action))


def _failed(desired: Object, action: Create | Update) -> Told:
    which = "create" if isinstance(action, Create) else f"update {action.obj['metadata']['name']}"
    service = str(key_of(desired))
    text = (
        f"Error updating Endpoint Slices for Service {service}: failed to {which} EndpointSlice for Service"
    )
    return Told("FailedToUpdateEndpointSlices", f"{text} {service}: ")


def _signature(ports: Iterable[services.Port]) -> str:
    plain = [
        (p.get("name") or "", p.get("protocol", "TCP"), p.get("port"), p.get("appProtocol")) for p in ports
    ]
    return json.dumps(sorted(plain, key=str))


def _pack(
    desired: Object,
    family: str,
    ports: list[services.Port],
    endpoints: Mapping[str, Endpoint],
    slices: Sequence[Object],
) -> list[Action]:
    """Place the endpoints (by pod uid) of one port set into the slices that have it."""
    left = dict(endpoints)
    labels = _labels(desired)
    contents: list[list[Endpoint]] = []
    dirty: list[bool] = []
    for piece in slices:
        old: list[Endpoint] = piece.get("endpoints") or []
        kept = [left.pop(uid) for uid in map(_pod_uid, old) if uid in left]
        contents.append(kept)
        dirty.append(kept != old or labels_of(piece) != labels)
    rest = list(left.values())
    order = sorted(range(len(slices)), key=lambda i: (not dirty[i], -len(contents[i])))
    for i in order:
        # An unchanged slice is opened only when all of the rest fits in, as upstream does, to keep writes few.
        room = MAX_ENDPOINTS - len(contents[i])
        if rest and room > 0 and (dirty[i] or len(rest) <= room):
            contents[i] += rest[:room]
            rest = rest[room:]
            dirty[i] = True
    actions: list[Action] = []
    spare = not endpoints  # the first empty slice stays as the placeholder
    for i, piece in enumerate(slices):
        if not contents[i] and not spare:
            actions.append(_delete(piece))
            continue
        spare = spare and bool(contents[i])
        if dirty[i]:
            meta = {**piece["metadata"], "labels": labels}
            actions.append(Update(RESOURCE, {**piece, "metadata": meta, "endpoints": contents[i]}))
    for start in range(0, len(rest), MAX_ENDPOINTS):
        chunk = rest[start : start + MAX_ENDPOINTS]
        actions.append(Create(RESOURCE, _new_slice(desired, family, ports, chunk)))
    if not endpoints and not slices:
        actions.append(Create(RESOURCE, _new_slice(desired, family, ports, [])))
    return actions


def _pod_uid(endpoint: Endpoint) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid", ""))


def _labels(desired: Object) -> dict[str, str]:
    own = {k: v for k, v in labels_of(desired).items() if k not in _OURS}
    headless = {services.HEADLESS_LABEL: ""} if services.is_headless(desired) else {}
    return {**own, SERVICE_NAME: desired["metadata"]["name"], MANAGED_BY: MANAGER, **headless}


def _new_slice(desired: Object, family: str, ports: list[services.Port], endpoints: list[Endpoint]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": desired["metadata"]["name"] + "-",
            "namespace": desired["metadata"]["namespace"],
            "labels": _labels(desired),
            "ownerReferences": [controller_ref({"apiVersion": "v1", "kind": "Service", **desired})],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    }


def _endpoint(desired: Object, observed: Observed, pod: Object, found: list[str]) -> Endpoint:
    serving, terminating = pods.is_ready(pod), is_deleting(pod)
    ready = bool(desired["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    endpoint: Endpoint = {
        "addresses": found,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": services.pod_reference(pod),
    }
    node = pods.node_of(pod)
    if node:
        endpoint["nodeName"] = node
    if observed.zones.get(node):
        endpoint["zone"] = observed.zones[node]
    if services.hostname(desired, pod):
        endpoint["hostname"] = services.hostname(desired, pod)
    hints = _hints(desired, node, observed.zones.get(node, "")) if ready else {}
    return {**endpoint, **({"hints": hints} if hints else {})}


def _hints(desired: Object, node: str, zone: str) -> Object:
    """For whom an endpoint is meant first, if the Service prefers what is near."""
    preference = desired["spec"].get("trafficDistribution")
    if preference not in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return {}
    hints: Object = {"forZones": [{"name": zone}]} if zone else {}
    if preference == "PreferSameNode" and node:
        hints["forNodes"] = [{"name": node}]
    return hints


def _delete(piece: Object) -> Action:
    return Delete(RESOURCE, key_of(piece), uid_of(piece))


def _its_service(piece: Object, cache: Cache) -> Iterable[Key]:
    labels = labels_of(piece)
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return ()
    return (Key(piece["metadata"]["namespace"], labels[SERVICE_NAME]),)


ENDPOINTSLICE = ControllerType(
    name="endpointslice-controller",
    watches=(
        Watch("services"),
        Watch("pods", wakes=selecting("services", BySelector(services.pod_selector))),
        Watch(RESOURCE, wakes=_its_service),
        Watch("nodes", wakes=nobody),
    ),
    observe=observe,
    reconcile=reconcile,
)

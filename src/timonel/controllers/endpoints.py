"""Endpoints: the older form of the addresses behind a Service, one object of the Service's name.

Watches   services; pods (wake the Services that select them); endpoints
Writes    endpoints
Upstream  pkg/controller/endpoint/endpoints_controller.go, pkg/api/v1/endpoints/util.go
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from timonel.control.actions import Create, Delete, Plan, Told, Update
from timonel.control.declare import Cache, ControllerType, Watch, selecting
from timonel.objects import pods, services
from timonel.objects.indexing import BySelector
from timonel.objects.meta import Key, Object, is_deleting, key_of, labels_of, uid_of
from timonel.records import dataclass

RESOURCE = "endpoints"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES = 1000
Subset = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    pods: Sequence[Object]
    endpoints: Object | None


def observe(desired: Object, cache: Cache) -> Observed:
    selector = services.selector_of(desired)
    namespace = desired["metadata"]["namespace"]
    behind = (
        cache.select("pods", namespace, lambda labels: selector.items() <= labels.items(), selector)
        if selector
        else ()
    )
    return Observed(behind, cache.get(RESOURCE, key_of(desired)))


def reconcile(desired: Object, observed: Observed) -> Plan:
    if is_deleting(desired) or not services.gets_endpoints(desired):
        return Plan()
    subsets, over = _subsets(desired, observed.pods)
    headless = {services.HEADLESS_LABEL: ""} if services.is_headless(desired) else {}
    labels = {**labels_of(desired), MANAGED_BY: MANAGER, **headless}
    current = observed.endpoints
    if current is None:
        meta: dict[str, Any] = {
            "name": desired["metadata"]["name"],
            "namespace": desired["metadata"]["namespace"],
            "labels": labels,
        }
        at = services.triggered_at(desired, _mentioned(observed.pods, subsets, ()))
        noted = services.with_trigger({OVER_CAPACITY: "truncated"} if over else {}, at)
        if noted:
            meta["annotations"] = noted
        new = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta}
        made = {**new, **({"subsets": subsets} if subsets else {})}
        told = f"Failed to create endpoint for service {key_of(desired)}: "
        return Plan((Create(RESOURCE, made, failed=Told("FailedToCreateEndpoint", told, about=made)),))
    noted = dict(current["metadata"].get("annotations") or {})
    noted.pop(OVER_CAPACITY, None)
    if over:
        noted[OVER_CAPACITY] = "truncated"
    same_notes = noted == (current["metadata"].get("annotations") or {})
    if (current.get("subsets") or []) == subsets and labels_of(current) == labels and same_notes:
        return Plan()
    at = services.triggered_at(None, _mentioned(observed.pods, subsets, current.get("subsets") or ()))
    noted = services.with_trigger(noted, at)
    meta = {**current["metadata"], "labels": labels, "annotations": noted}
    if not noted:
        del meta["annotations"]
    body = {k: v for k, v in current.items() if k != "subsets"}
    changed = {**body, "metadata": meta, **({"subsets": subsets} if subsets else {})}
    told = f"Failed to update endpoint {key_of(desired)}: "
    failed = Told("FailedToUpdateEndpoint", told, about={"apiVersion": "v1", "kind": "Endpoints", **current})
    return Plan((Update(RESOURCE, changed, failed=failed),))


def _mentioned(behind: Iterable[Object], new: Iterable[Subset], old: Iterable[Subset]) -> list[Object]:
    """Pods whose addresses are new, or in another list than before."""

    def places(subsets: Iterable[Subset]) -> set[tuple[str, str]]:
        return {
            (kind, address["targetRef"]["uid"])
            for subset in subsets
            for kind in ("addresses", "notReadyAddresses")
            for address in subset.get(kind) or ()
            if address.get("targetRef")
        }

    changed = {uid for _, uid in places(new) - places(old)}
    return [pod for pod in behind if uid_of(pod) in changed]


def _subsets(desired: Object, behind: Iterable[Object]) -> tuple[list[Subset], bool]:
    """Addresses with the same ports together. The flag: there were too many, ready ones stay first."""
    family = next(iter(services.families(desired)))
    tolerant = bool(desired["spec"].get("publishNotReadyAddresses"))
    groups: dict[str, Subset] = {}
    chosen = [p for p in behind if services.may_have_endpoint(p, terminating=tolerant)]
    chosen = [p for p in chosen if services.addresses(p, family)]
    chosen.sort(key=lambda p: (not pods.is_ready(p), services.addresses(p, family)[0], uid_of(p)))
    for pod in chosen[:MAX_ADDRESSES]:
        ports = [{k: v for k, v in port.items() if v != ""} for port in services.endpoint_ports(desired, pod)]
        if not ports and desired["spec"].get("ports"):
            continue
        ports.sort(key=lambda p: (p.get("name", ""), p["protocol"], p["port"]))
        group = groups.setdefault(json.dumps(ports), {"ports": ports})
        kind = "addresses" if tolerant or pods.is_ready(pod) else "notReadyAddresses"
        group.setdefault(kind, []).append(_address(desired, pod, services.addresses(pod, family)[0]))
    order = ("addresses", "notReadyAddresses", "ports")
    subsets = [{k: groups[name][k] for k in order if groups[name].get(k)} for name in sorted(groups)]
    return subsets, len(chosen) > MAX_ADDRESSES


def _address(desired: Object, pod: Object, ip: str) -> dict[str, Any]:
    host, node = services.hostname(desired, pod), pods.node_of(pod)
    return {
        "ip": ip,
        **({"hostname": host} if host else {}),
        **({"nodeName": node} if node else {}),
        "targetRef": services.pod_reference(pod),
    }


def absent(key: Key, cache: Cache) -> Plan:
    left = cache.get(RESOURCE, key)
    if left is None or labels_of(left).get(MANAGED_BY) != MANAGER:
        return Plan()
    return Plan((Delete(RESOURCE, key, uid_of(left)),))


ENDPOINTS = ControllerType(
    name="endpoint-controller",
    watches=(
        Watch("services"),
        Watch("pods", wakes=selecting("services", BySelector(services.pod_selector))),
        Watch(RESOURCE),
    ),
    observe=observe,
    reconcile=reconcile,
    absent=absent,
)

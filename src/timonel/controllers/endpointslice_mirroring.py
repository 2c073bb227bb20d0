"""Endpoints that somebody else keeps, for a Service without a selector, are mirrored into EndpointSlices.

Each subset of ports has one slice for each family of addresses, of at most a thousand addresses.

Watches   endpoints; services (wake those of their name); endpointslices.discovery.k8s.io
Writes    endpointslices.discovery.k8s.io
Upstream  pkg/controller/endpointslicemirroring/{reconciler,utils,endpointslicemirroring_controller}.go
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from timonel.control.actions import Action, Create, Delete, Plan, Record, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects import services
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

ENDPOINTS, SLICES = "endpoints", "endpointslices.discovery.k8s.io"
SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_ADDRESSES = 1000
Endpoint = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observed:
    service: Object | None
    slices: Sequence[Object]


class Part(NamedTuple):
    """What one slice must hold."""

    ports: list[Object]
    family: str
    endpoints: list[Endpoint]


def observe(desired: Object, cache: Cache) -> Observed:
    return Observed(cache.get("services", key_of(desired)), _slices(key_of(desired), cache))


def _slices(key: Key, cache: Cache) -> Sequence[Object]:
    def is_ours(labels: dict[str, str]) -> bool:
        return labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME) == key.name

    return cache.select(SLICES, key.namespace, is_ours)


def is_mirrored(endpoints: Object, service: Object | None) -> bool:
    if labels_of(endpoints).get(SKIP) == "true" or LEADER in annotations_of(endpoints):
        return False
    return service is not None and not services.selector_of(service)


def reconcile(desired: Object, observed: Observed) -> Plan:
    slices = [s for s in observed.slices if not is_deleting(s)]
    if is_deleting(desired) or not is_mirrored(desired, observed.service):
        return Plan(tuple(map(_delete, slices)))
    wanted, invalid, skipped = _parts(desired)
    by_part: dict[str, list[Object]] = {}
    for piece in sorted(slices, key=lambda s: s["metadata"]["name"]):
        by_part.setdefault(_name(piece.get("ports") or (), piece["addressType"]), []).append(piece)
    actions: list[Action] = []
    spare: list[Object] = []
    missing: list[Part] = []
    for name, part in wanted.items():
        kept, *extra = by_part.pop(name, None) or (None,)
        spare += [piece for piece in extra if piece is not None]
        if kept is None:
            missing.append(part)
        elif not _holds(kept, desired, part):
            actions.append(Update(SLICES, _filled(kept, desired, part)))
    spare += [piece for group in by_part.values() for piece in group]
    actions += _made(desired, missing, spare)
    return Plan((*actions, *_told(invalid, skipped)))


def _parts(endpoints: Object) -> tuple[dict[str, Part], int, int]:
    """By the name of ports and family; how many addresses are none, and how many were left out."""
    found: dict[str, Part] = {}
    invalid = skipped = 0
    for subset in endpoints.get("subsets") or ():
        ports = [_port(p) for p in subset.get("ports") or ()]
        taken = 0
        for kind in ("addresses", "notReadyAddresses"):
            for address in subset.get(kind) or ():
                if taken >= MAX_ADDRESSES:
                    skipped += 1
                    continue
                family = _family(address["ip"])
                if not family:
                    invalid += 1
                    continue
                part = found.setdefault(_name(ports, family), Part(ports, family, []))
                if len(part.endpoints) < MAX_ADDRESSES:
                    part.endpoints.append(_endpoint(address, ready=kind == "addresses"))
                taken += 1
    return found, invalid, skipped


def _family(ip: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(ip).version}"
    except ValueError:
        return ""


def _port(port: Object) -> Object:
    extra = {"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}
    name, protocol = port.get("name", ""), port.get("protocol", "TCP")
    return {"name": name, "protocol": protocol, "port": port["port"], **extra}


def _name(ports: Iterable[Object], family: str) -> str:
    plain = [(p.get("name") or "", p.get("protocol"), p.get("port"), p.get("appProtocol")) for p in ports]
    return family + json.dumps(sorted(plain, key=str))


def _endpoint(address: Object, *, ready: bool) -> Endpoint:
    endpoint: Endpoint = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for field in ("hostname", "nodeName", "targetRef"):
        if address.get(field):
            endpoint[field] = address[field]
    return endpoint


def _meta(endpoints: Object) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and annotations of its slices."""
    labels = {k: v for k, v in labels_of(endpoints).items() if k != SKIP}
    labels |= {SERVICE_NAME: endpoints["metadata"]["name"], MANAGED_BY: MANAGER}
    return labels, {k: v for k, v in annotations_of(endpoints).items() if k != LAST_APPLIED}


def _holds(piece: Object, endpoints: Object, part: Part) -> bool:
    labels, annotations = _meta(endpoints)
    same = sorted(piece.get("endpoints") or (), key=str) == sorted(part.endpoints, key=str)
    return same and labels_of(piece) == labels and annotations_of(piece) == annotations


def _filled(piece: Object, endpoints: Object, part: Part) -> Object:
    labels, annotations = _meta(endpoints)
    meta = {**piece["metadata"], "labels": labels, "annotations": annotations}
    if not annotations:
        del meta["annotations"]
    return {**piece, "metadata": meta, "endpoints": part.endpoints, "ports": part.ports}


def _made(endpoints: Object, missing: Iterable[Part], spare: Sequence[Object]) -> list[Action]:
    """Slices that would go are used again for what is missing of their family."""
    left = list(spare)
    actions: list[Action] = []
    for part in missing:
        reused = next((piece for piece in left if piece["addressType"] == part.family), None)
        if reused is not None:
            left.remove(reused)
            actions.append(Update(SLICES, _filled(reused, endpoints, part)))
        else:
            actions.append(Create(SLICES, _new(endpoints, part)))
    return [*actions, *map(_delete, left)]


def _new(endpoints: Object, part: Part) -> Object:
    name, namespace = endpoints["metadata"]["name"], endpoints["metadata"]["namespace"]
    owner = controller_ref({"apiVersion": "v1", "kind": "Endpoints", **endpoints})
    made = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"generateName": f"{name}-", "namespace": namespace, "ownerReferences": [owner]},
        "addressType": part.family,
    }
    return _filled(made, endpoints, part)


def _delete(piece: Object) -> Action:
    return Delete(SLICES, key_of(piece), uid_of(piece))


def _told(invalid: int, skipped: int) -> Iterable[Action]:
    if invalid:
        text = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        yield Record("Warning", "InvalidIPAddress", text)
    if skipped:
        text = f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset."
        yield Record(
            "Warning", "TooManyAddressesToMirror", f"{text} {invalid + skipped} addresses were skipped"
        )


def absent(key: Key, cache: Cache) -> Plan:
    return Plan(tuple(_delete(s) for s in _slices(key, cache) if not is_deleting(s)))


def _may_be_mirrored(endpoints: Object, cache: Cache) -> Iterable[Key]:
    """Those of Services that have a selector change often, and are not ours."""
    key = key_of(endpoints)
    service = cache.get("services", key)
    if service is not None and services.selector_of(service) and not _slices(key, cache):
        return ()
    return (key,)


def _its_endpoints(piece: Object, cache: Cache) -> Iterable[Key]:
    labels: Mapping[str, str] = labels_of(piece)
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_NAME):
        return ()
    return (Key(piece["metadata"]["namespace"], labels[SERVICE_NAME]),)


ENDPOINTSLICE_MIRRORING = ControllerType(
    name="endpointslicemirroring-controller",
    watches=(
        Watch(ENDPOINTS, wakes=_may_be_mirrored),
        Watch("services"),
        Watch(SLICES, wakes=_its_endpoints),
    ),
    observe=observe,
    reconcile=reconcile,
    absent=absent,
)

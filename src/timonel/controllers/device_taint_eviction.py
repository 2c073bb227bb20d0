"""Pods leave devices whose NoExecute taints their claims do not tolerate, at once or after tolerationSeconds.

Watches   pods; resourceclaims, resourceslices (.resource.k8s.io; wake the pods that use what they are about)
Writes    pods (delete), pods/status (DisruptionTarget)
Upstream  pkg/controller/devicetainteviction/device_taint_eviction.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from timonel.control.actions import Delete, Patch, Plan, Record
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects import conditions, nodes, pods
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested, parse_time, uid_of
from timonel.records import dataclass

CLAIMS, SLICES = "resourceclaims.resource.k8s.io", "resourceslices.resource.k8s.io"
Device = tuple[str, str, str]  # driver, pool, name


@dataclass(frozen=True, slots=True)
class Strain:
    """A taint of a device that the pod uses, and what its claim tolerates."""

    taint: nodes.Taint
    tolerations: Sequence[nodes.Toleration]


@dataclass(frozen=True, slots=True)
class Observed:
    strains: Sequence[Strain]
    now: float


def claim_keys(pod: Object) -> Iterator[Key]:
    """The claims of a pod that exist, as far as it knows their names."""
    made = {
        s["name"]: s.get("resourceClaimName") for s in nested(pod, "status", "resourceClaimStatuses") or ()
    }
    for one in nested(pod, "spec", "resourceClaims") or ():
        name = one.get("resourceClaimName") or made.get(one["name"])
        if name:
            yield Key(pod["metadata"]["namespace"], name)


def results_of(claim: Object) -> list[Object]:
    found: list[Object] = nested(claim, "status", "allocation", "devices", "results") or []
    return found


def _device(result: Object) -> Device:
    return result["driver"], result["pool"], result["device"]


def observe(desired: Object, cache: Cache) -> Observed:
    used: list[Object] = []
    for key in claim_keys(desired) if pods.node_of(desired) else ():
        claim = cache.get(CLAIMS, key)
        users = nested(claim, "status", "reservedFor") or ()
        if claim is not None and any(user["uid"] == uid_of(desired) for user in users):
            used += results_of(claim)
    taints = _taints(cache.list(SLICES)) if used else {}
    strains = [
        Strain(taint, result.get("tolerations") or ())
        for result in used
        for taint in taints.get(_device(result), ())
    ]
    return Observed(strains, cache.now())


def _taints(slices: Iterable[Object]) -> dict[Device, list[nodes.Taint]]:
    """The NoExecute taints of devices, as the newest generation of their pool has them."""
    newest: dict[tuple[str, str], int] = {}
    found: dict[Device, tuple[int, list[nodes.Taint]]] = {}
    for part in slices:
        spec = part["spec"]
        pool, generation = (spec["driver"], spec["pool"]["name"]), spec["pool"].get("generation", 0)
        newest[pool] = max(newest.get(pool, generation), generation)
        for device in spec.get("devices") or ():
            taints = [t for t in device.get("taints") or () if t["effect"] == "NoExecute"]
            before = found.get((*pool, device["name"]))
            if taints and (before is None or before[0] <= generation):
                found[(*pool, device["name"])] = generation, taints
    return {key: taints for key, (generation, taints) in found.items() if newest[key[:2]] == generation}


def leaves_at(observed: Observed) -> float | None:
    """When the pod must go; None: never."""
    ends: list[float] = []
    for strain in observed.strains:
        matching = [t for t in strain.tolerations if nodes.tolerates(t, strain.taint)]
        limits = [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
        since = parse_time(strain.taint.get("timeAdded")) or observed.now
        if not matching:
            ends.append(since)
        elif len(limits) == len(matching):
            ends.append(since + max(0, min(limits)))
    return min(ends, default=None)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if is_deleting(desired) or pods.is_terminal(desired):
        return Plan()
    end = leaves_at(observed)
    if end is None:
        return Plan()
    if end > observed.now:
        return Plan((), end - observed.now)
    text = "Device Taint manager: deleting due to NoExecute taint"
    mark = conditions.make("DisruptionTarget", "True", "DeletionByDeviceTaintManager", text, observed.now)
    patch = conditions.patch(nested(desired, "status", "conditions"), mark)
    key, uid = key_of(desired), uid_of(desired)
    return Plan(
        (
            Record("Normal", "DeviceTaintManagerEviction", "Marking for deletion"),
            Patch("pods", key, patch, kind="strategic", subresource="status", uid=uid, missing_ok=True),
            Delete("pods", key, uid),
        )
    )


def _with_claims(pod: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(pod),) if any(True for _ in claim_keys(pod)) else ()


def _users(claim: Object, cache: Cache) -> Iterable[Key]:
    users = nested(claim, "status", "reservedFor") or ()
    return {Key(claim["metadata"]["namespace"], u["name"]) for u in users if u.get("resource") == "pods"}


def _users_of_pool(part: Object, cache: Cache) -> Iterable[Key]:
    pool = part["spec"]["driver"], part["spec"]["pool"]["name"]
    for claim in cache.list(CLAIMS):
        if any(_device(result)[:2] == pool for result in results_of(claim)):
            yield from _users(claim, cache)


DEVICE_TAINT_EVICTION = ControllerType(
    name="device-taint-eviction-controller",
    watches=(
        Watch("pods", wakes=_with_claims),
        Watch(CLAIMS, wakes=_users),
        Watch(SLICES, wakes=_users_of_pool),
    ),
    observe=observe,
    reconcile=reconcile,
)

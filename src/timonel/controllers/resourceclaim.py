"""ResourceClaims: made from templates for the pods that ask for them, reserved for pods, freed and deleted after them.

Two declarations: one looks at pods, the other at claims.

    pod names a template ──> claim, owned by the pod ──> pod.status.resourceClaimStatuses names it
    claim allocated, pod bound ──> claim.status.reservedFor names the pod ── pod done ──> it is taken out again
    nobody left ──> the allocation goes, and the finalizer; a claim that was made for the pod is deleted

Watches   pods; resourceclaims, resourceclaimtemplates (.resource.k8s.io)
Writes    resourceclaims.resource.k8s.io and /status; pods/status
Upstream  pkg/controller/resourceclaim/controller.go, dynamic-resource-allocation/resourceclaim/claim.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from timonel.control.actions import Action, Create, Delete, Patch, Plan, Record, Told, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects import pods
from timonel.objects.meta import (
    Key,
    Object,
    annotations_of,
    controller_of,
    controller_ref,
    is_controlled_by,
    is_deleting,
    key_of,
    nested,
    uid_of,
)
from timonel.objects.workloads import copy_tree
from timonel.records import dataclass

CLAIMS, TEMPLATES = "resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io"
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
FINALIZER = "resource.kubernetes.io/delete-protection"
MOST_CONSUMERS = 256
LONGEST_BASE = 57
PATIENCE = 5.0  # seconds in which a pod that is not in the cache may only not have come there yet


@dataclass(frozen=True, slots=True)
class Asked:
    """What a pod asks for: its claims by name, templates by name, and the claims that it owns."""

    claims: Mapping[str, Object]
    templates: Mapping[str, Object]
    owned: Sequence[Object]


def wanted(pod: Object) -> list[Object]:
    found: list[Object] = nested(pod, "spec", "resourceClaims") or []
    return found


def _statuses(pod: Object) -> dict[str, Object]:
    return {s["name"]: s for s in nested(pod, "status", "resourceClaimStatuses") or ()}


def claim_name(pod: Object, asked: Object) -> str:
    """The claim's name; empty where it is not known yet, or none is needed."""
    if asked.get("resourceClaimName"):
        return str(asked["resourceClaimName"])
    return str(_statuses(pod).get(asked["name"], {}).get("resourceClaimName") or "")


def is_done(pod: Object) -> bool:
    return pods.is_terminal(pod) or (is_deleting(pod) and not pods.node_of(pod))


def observe_pod(desired: Object, cache: Cache) -> Asked:
    namespace = desired["metadata"]["namespace"]

    def found(resource: str, names: Iterable[str]) -> dict[str, Object]:
        objects = ((name, cache.get(resource, Key(namespace, name))) for name in names if name)
        return {name: obj for name, obj in objects if obj is not None}

    return Asked(
        found(CLAIMS, (claim_name(desired, one) for one in wanted(desired))),
        found(TEMPLATES, (one.get("resourceClaimTemplateName") or "" for one in wanted(desired))),
        cache.controlled_by(desired, CLAIMS),
    )


def reconcile_pod(desired: Object, asked: Asked) -> Plan:
    if is_deleting(desired) or is_done(desired):
        return Plan()
    actions: list[Action] = []
    named: dict[str, str] = {}
    for one in wanted(desired):
        if not one.get("resourceClaimTemplateName") or _is_served(desired, one, asked):
            continue
        made = _made_before(one, asked)
        if made is not None:
            named[one["name"]] = made["metadata"]["name"]
            continue
        actions += _make(desired, one, asked)
    if named:
        actions.append(_name(desired, named))
    if pods.node_of(desired):
        actions += _reserve(desired, asked)
    return Plan(tuple(actions))


def _is_served(pod: Object, one: Object, asked: Asked) -> bool:
    status = _statuses(pod).get(one["name"])
    if status is None:
        return False
    claim = asked.claims.get(claim_name(pod, one))
    # A status without a name says that no claim is needed.
    return not status.get("resourceClaimName") or (claim is not None and is_controlled_by(claim, pod))


def _made_before(one: Object, asked: Asked) -> Object | None:
    mine = (c for c in asked.owned if annotations_of(c).get(POD_CLAIM) == one["name"] and not is_deleting(c))
    return min(mine, key=lambda c: str(c["metadata"]["name"]), default=None)


def _make(pod: Object, one: Object, asked: Asked) -> list[Action]:
    name = one["resourceClaimTemplateName"]
    template, which = asked.templates.get(name), f"PodResourceClaim {one['name']}: "
    if template is None:
        why = f'resource claim template "{name}": resourceclaimtemplate.resource.k8s.io "{name}" not found'
        return [Record("Warning", "FailedResourceClaimCreation", which + why)]
    made_from = nested(template, "spec", "metadata") or {}
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": base_name(pod["metadata"]["name"], one["name"]),
            "namespace": pod["metadata"]["namespace"],
            **({"labels": dict(made_from["labels"])} if made_from.get("labels") else {}),
            "annotations": {**(made_from.get("annotations") or {}), POD_CLAIM: one["name"]},
            "ownerReferences": [controller_ref({"apiVersion": "v1", "kind": "Pod", **pod})],
        },
        "spec": copy_tree(template["spec"]["spec"]),
    }
    failed = Told("FailedResourceClaimCreation", f"{which}create ResourceClaim : ")
    return [Create(CLAIMS, claim, failed=failed)]


def base_name(pod: str, claim: str) -> str:
    """Both parts are shortened in proportion, so that both can still be recognised."""
    whole = f"{pod}-{claim}-"
    if len(whole) <= LONGEST_BASE:
        return whole
    return (
        f"{pod[: len(pod) * LONGEST_BASE // len(whole)]}-{claim[: len(claim) * LONGEST_BASE // len(whole)]}"
    )


def _name(pod: Object, named: Mapping[str, str]) -> Action:
    statuses = [{"name": n, "resourceClaimName": claim} for n, claim in sorted(named.items())]
    kept = [s for n, s in _statuses(pod).items() if n not in named]
    patch = {"status": {"resourceClaimStatuses": [*kept, *statuses]}}
    return Patch("pods", key_of(pod), patch, subresource="status", uid=uid_of(pod), missing_ok=True)


def _reserve(pod: Object, asked: Asked) -> list[Action]:
    """A pod that was bound by somebody else than the scheduler."""
    actions: list[Action] = []
    for one in wanted(pod):
        claim = asked.claims.get(claim_name(pod, one))
        status = (claim or {}).get("status") or {}
        if claim is None or "allocation" not in status:
            continue
        if one.get("resourceClaimTemplateName") and not is_controlled_by(claim, pod):
            continue
        users: list[Object] = status.get("reservedFor") or []
        if any(u["uid"] == uid_of(pod) for u in users) or len(users) >= MOST_CONSUMERS:
            continue
        user = {"resource": "pods", "name": pod["metadata"]["name"], "uid": uid_of(pod)}
        new = {**claim, "status": {**status, "reservedFor": [*users, user]}}
        actions.append(Update(CLAIMS, new, subresource="status"))
    return actions


@dataclass(frozen=True, slots=True)
class Users:
    """`valid` of those that the claim is reserved for; `owner_done`: the pod it was made for needs it no more."""

    valid: tuple[Object, ...]
    owner_done: bool
    wait: float | None = None


def observe_claim(desired: Object, cache: Cache) -> Users:
    namespace, now = desired["metadata"]["namespace"], cache.now()
    valid: list[Object] = []
    waits: list[float] = []
    for user in nested(desired, "status", "reservedFor") or ():
        key = Key(namespace, user["name"])
        if user.get("resource") != "pods" or user.get("apiGroup"):
            valid.append(user)  # of a kind that nobody here knows
            continue
        pod = cache.get("pods", key)
        if pod is None and cache.gone_uid("pods", key) == user["uid"]:
            continue  # seen to go: a namesake that may not have come yet has another uid
        if pod is None:
            left = cache.gone_since("pods", key) + PATIENCE - now
            if left > 0:
                waits.append(left)
                valid.append(user)
        elif uid_of(pod) == user["uid"] and not is_done(pod):
            valid.append(user)
    return Users(tuple(valid), _is_owner_done(desired, cache), min(waits, default=None))


def _is_owner_done(claim: Object, cache: Cache) -> bool:
    owner = controller_of(claim)
    if owner is None or owner["kind"] != "Pod":
        return False
    pod = cache.get("pods", Key(claim["metadata"]["namespace"], owner["name"]))
    return pod is not None and uid_of(pod) == owner["uid"] and is_done(pod)


def reconcile_claim(desired: Object, users: Users) -> Plan:
    status = desired.get("status") or {}
    before: list[Object] = status.get("reservedFor") or []
    ours = FINALIZER in (desired["metadata"].get("finalizers") or ())
    if len(users.valid) < len(before):
        new = {k: v for k, v in status.items() if k != "reservedFor"}
        if users.valid:
            new["reservedFor"] = list(users.valid)
            return Plan((Update(CLAIMS, {**desired, "status": new}, subresource="status"),), users.wait)
        return Plan(tuple(_freed(desired, new, ours)))
    if users.valid:
        return Plan((), users.wait)
    if ours and is_deleting(desired):
        return Plan(tuple(_freed(desired, status, ours)))
    if users.owner_done and not is_deleting(desired):
        return Plan((Delete(CLAIMS, key_of(desired), uid_of(desired)),))
    return Plan()


def _freed(claim: Object, status: Object, ours: bool) -> Iterable[Action]:
    """With our finalizer the allocation is the scheduler's: both go together, as it sets both together."""
    new = {k: v for k, v in status.items() if not (ours and k == "allocation")}
    if new != (claim.get("status") or {}):
        yield Update(CLAIMS, {**claim, "status": new}, subresource="status")
    if ours:
        kept = [f for f in claim["metadata"]["finalizers"] if f != FINALIZER]
        patch = {"metadata": {"finalizers": kept or None}}
        yield Patch(CLAIMS, key_of(claim), patch, uid=uid_of(claim), missing_ok=True)


def _asking(pod: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(pod),) if wanted(pod) else ()


def _pods_of_claim(claim: Object, cache: Cache) -> Iterable[Key]:
    owner, namespace = controller_of(claim), claim["metadata"]["namespace"]
    if owner is not None and owner["kind"] == "Pod":
        return (Key(namespace, owner["name"]),)
    return [key_of(pod) for pod in cache.by("pods", _by_claim, key_of(claim))]


def _by_claim(pod: Object) -> Iterable[Key]:
    """The claims that a pod names itself."""
    names = filter(None, (one.get("resourceClaimName") for one in wanted(pod)))
    return {Key(pod["metadata"]["namespace"], name) for name in names}


def _by_template(pod: Object) -> Iterable[Key]:
    names = filter(None, (one.get("resourceClaimTemplateName") for one in wanted(pod)))
    return {Key(pod["metadata"]["namespace"], name) for name in names}


def _pods_of_template(template: Object, cache: Cache) -> Iterable[Key]:
    return [key_of(pod) for pod in cache.by("pods", _by_template, key_of(template))]


def _claims_of_pod(pod: Object, cache: Cache) -> Iterable[Key]:
    names = filter(None, (claim_name(pod, one) for one in wanted(pod)))
    return {Key(pod["metadata"]["namespace"], name) for name in names}


PODS = ControllerType(
    name="resource-claim-controller",
    component="resource_claim",
    watches=(
        Watch("pods", wakes=_asking),
        Watch(CLAIMS, wakes=_pods_of_claim),
        Watch(TEMPLATES, wakes=_pods_of_template),
    ),
    observe=observe_pod,
    reconcile=reconcile_pod,
)

OF_CLAIMS = ControllerType(
    name="resource-claim-controller",
    component="resource_claim",
    watches=(Watch(CLAIMS), Watch("pods", wakes=_claims_of_pod)),
    observe=observe_claim,
    reconcile=reconcile_claim,
)

RESOURCECLAIM = (PODS, OF_CLAIMS)

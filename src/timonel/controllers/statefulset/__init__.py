"""StatefulSet: pods with a name and storage of their own, started in order, updated and stopped in reverse.

A pass goes through the same rooms as upstream's: replicas (ascending) → condemned (descending) → rolling update
(descending). OrderedReady leaves at the first pod that is not settled; Parallel goes through all.

Watches   statefulsets.apps; pods; controllerrevisions.apps; persistentvolumeclaims
Writes    pods, persistentvolumeclaims, controllerrevisions.apps; statefulsets.apps/status
Upstream  pkg/controller/statefulset/stateful_set_control.go, stateful_pod_control.go, stateful_set_utils.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from timonel.control.actions import (
    Action,
    Create,
    Delete,
    Outcome,
    Patch,
    Plan,
    Record,
    Status,
    Told,
    Update,
    claims,
)
from timonel.control.declare import Cache, ControllerType, Watch, controller_or_adopters
from timonel.controllers.statefulset import identity, retention
from timonel.machinery import intstr
from timonel.machinery.errors import AlreadyExists
from timonel.objects import pods, revisions, workloads
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested, uid_of
from timonel.records import dataclass

RESOURCE = "statefulsets.apps"
CLAIMS = "persistentvolumeclaims"


@dataclass(frozen=True, slots=True)
class History:
    """`actions` adopt and bring up to date the stored revisions; `update` may be about to be created."""

    current: Object
    update: Object
    stored: tuple[Object, ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    claim: workloads.Claim
    volume_claims: Mapping[Key, Object]
    history: History
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    selector = workloads.selector_of(desired).matches
    namespace = desired["metadata"]["namespace"]
    mine = cache.controlled_by(desired, "pods")
    candidates = [*mine, *cache.orphans("pods", namespace, selector)]
    members = [p for p in candidates if identity.ordinal_of(desired, p) is not None]
    claim = workloads.claim(desired, selector, members)
    if not is_deleting(desired):
        strangers = (p for p in mine if identity.ordinal_of(desired, p) is None)
        claim = workloads.Claim(claim.owned, claim.adopt, (*claim.release, *strangers))
    wanted = set(identity.ordinals(desired)) | {_ordinal(desired, p) for p in claim.owned}
    found: dict[Key, Object] = {}
    for ordinal in wanted:
        for key in identity.claim_keys(desired, ordinal):
            volume_claim = cache.get(CLAIMS, key)
            if volume_claim is not None:
                found[key] = volume_claim
    stored = cache.controlled_by(desired, revisions.RESOURCE)
    history = _history(desired, [*stored, *cache.orphans(revisions.RESOURCE, namespace, selector)])
    return Observed(claim, found, history, cache.now())


def _ordinal(desired: Object, pod: Object) -> int:
    ordinal = identity.ordinal_of(desired, pod)
    assert ordinal is not None, "observe lets only members in"
    return ordinal


def _history(desired: Object, stored: Sequence[Object]) -> History:
    """Revisions that nobody owns any more, such as those of an orphaned namesake, are taken on with the pods."""
    claim = workloads.claim(desired, workloads.selector_of(desired).matches, stored)
    ordered = revisions.oldest_first(claim.owned)
    template = desired["spec"]["template"]
    data = revisions.data_of(template)
    same = [r for r in ordered if r.get("data") == data]
    number = revisions.next_number(ordered)
    actions = tuple(claims(revisions.RESOURCE, adopt=claim.adopt, release=()))
    if not same:
        update = revisions.build(desired, template, number, label=revisions.HASH_LABEL)
        actions = (*actions, Create(revisions.RESOURCE, update))
    else:
        update = same[-1]
        if update is not ordered[-1]:
            # A rollback: the old revision becomes the newest.
            newest = Patch(revisions.RESOURCE, key_of(update), {"revision": number}, uid=uid_of(update))
            actions = (*actions, newest)
    name = (desired.get("status") or {}).get("currentRevision")
    current = next((r for r in ordered if r["metadata"]["name"] == name), update)
    return History(current, update, tuple(ordered), actions)


def is_ordered(desired: Object) -> bool:
    return bool(desired["spec"].get("podManagementPolicy") != "Parallel")


def is_healthy(pod: Object) -> bool:
    return pods.phase_of(pod) == "Running" and pods.is_ready(pod) and not is_deleting(pod)


def _is_available(desired: Object, pod: Object, now: float) -> bool:
    min_ready = desired["spec"].get("minReadySeconds", 0)
    return pods.phase_of(pod) == "Running" and pods.is_available(pod, min_ready, now)


def reconcile(desired: Object, observed: Observed) -> Plan:
    actions = claims("pods", adopt=observed.claim.adopt, release=observed.claim.release)
    if is_deleting(desired):
        return Plan(tuple(actions))
    slots: dict[int, Object | None] = dict.fromkeys(identity.ordinals(desired))
    condemned: list[Object] = []
    for pod in observed.claim.owned:
        ordinal = _ordinal(desired, pod)
        if ordinal in slots:
            slots[ordinal] = pod
        else:
            condemned.append(pod)
    condemned.sort(key=lambda p: _ordinal(desired, p), reverse=True)
    actions += observed.history.actions
    actions += _steps(desired, observed, slots, condemned)
    actions += _superfluous(desired, observed)
    min_ready = desired["spec"].get("minReadySeconds", 0)
    return Plan(tuple(actions), pods.next_availability(observed.claim.owned, min_ready, observed.now))


def _steps(
    desired: Object, observed: Observed, slots: Mapping[int, Object | None], condemned: Sequence[Object]
) -> list[Action]:
    actions, settled = _fill(desired, observed, slots)
    actions += _hand_over_claims(desired, observed, condemned, condemned=True)
    if not settled:
        return actions
    drained, settled = _drain(desired, observed, slots, condemned)
    actions += drained
    if settled and nested(desired, "spec", "updateStrategy", "type") != "OnDelete":
        actions += _update(desired, observed, slots)
    return actions


def _fill(
    desired: Object, observed: Observed, slots: Mapping[int, Object | None]
) -> tuple[list[Action], bool]:
    """Create what is missing, replace what ended. False: wait before going further; Parallel never waits."""
    ordered = is_ordered(desired)
    volume_claims: list[Action] = []
    created: list[Action] = []
    other: list[Action] = []
    settled = True
    for ordinal, pod in slots.items():
        if pod is None:
            settled = False
            leaving = _leaving_claim(desired, observed, ordinal)
            if leaving is not None:
                other += _refused(desired, ordinal, leaving)
            else:
                volume_claims += _missing_claims(desired, observed, ordinal)
                created.append(_creation(desired, observed, ordinal))
        elif pods.is_terminal(pod):
            other += [] if is_deleting(pod) else _delete(desired, pod)
            settled = False
        else:
            if pods.phase_of(pod) == "Pending":
                volume_claims += _missing_claims(desired, observed, ordinal)
            if ordered and not (is_healthy(pod) and _is_available(desired, pod, observed.now)):
                settled = False
            else:
                other += _restore_identity(desired, pod, ordinal)
                other += _hand_over_claims(desired, observed, [pod], condemned=False)
        if ordered and not settled:
            break
    return [*volume_claims, *created, *other], settled or not ordered


def _creation(desired: Object, observed: Observed, ordinal: int) -> Action:
    pod = _new_pod(desired, observed, ordinal)
    which = f"create Pod {pod['metadata']['name']} in StatefulSet {desired['metadata']['name']}"
    failed = Told("FailedCreate", f"{which} failed error: ")
    return Create("pods", pod, failed=failed, made=Told("SuccessfulCreate", f"{which} successful"))


def _leaving_claim(desired: Object, observed: Observed, ordinal: int) -> Object | None:
    """A claim that the pod could have only for a moment more: it waits for another."""
    pod_name = f"{desired['metadata']['name']}-{ordinal}"
    found = [observed.volume_claims.get(key) for key in identity.claim_keys(desired, ordinal)]
    return next(
        (c for c in found if c is not None and (is_deleting(c) or retention.has_stale(desired, c, pod_name))),
        None,
    )


def _refused(desired: Object, ordinal: int, claim: Object) -> list[Action]:
    if not is_deleting(claim):
        return []
    who = desired["metadata"]["name"]
    text = f"create Pod {who}-{ordinal} in StatefulSet {who} failed error: pvc {claim['metadata']['name']}"
    return [Record("Warning", "FailedCreate", f"{text} is being deleted")]


def _new_pod(desired: Object, observed: Observed, ordinal: int) -> Object:
    """Below the partition, pods stay on the current revision."""
    history = observed.history
    partition = nested(desired, "spec", "updateStrategy", "rollingUpdate", "partition")
    rolling = nested(desired, "spec", "updateStrategy", "rollingUpdate") is not None
    if partition is None and not rolling:
        partition = 0
        if nested(desired, "spec", "updateStrategy", "type") != "OnDelete":
            partition = nested(desired, "status", "currentReplicas")
    keep = ordinal < identity.start_of(desired) + (partition or 0)
    revision = history.current if keep else history.update
    template = revisions.template_of(revision)
    return identity.pod_for(desired, template, ordinal, revision["metadata"]["name"])


def _missing_claims(desired: Object, observed: Observed, ordinal: int) -> list[Action]:
    actions: list[Action] = []
    for claim in identity.claims_for(desired, ordinal):
        if key_of(claim) not in observed.volume_claims:
            named = {"metadata": {"name": f"{desired['metadata']['name']}-{ordinal}"}}
            refs = retention.owners(desired, claim, named, condemned=False)
            if refs:
                claim["metadata"]["ownerReferences"] = refs
            who = desired["metadata"]["name"]
            name = claim["metadata"]["name"]
            tail = f"Pod {who}-{ordinal} in StatefulSet {who}"
            failed = Told("FailedCreate", f"create Claim {name} for {tail} failed error: ")
            made = Told("SuccessfulCreate", f"create Claim {name} {tail} success")
            actions.append(Create(CLAIMS, claim, exists_ok=True, failed=failed, made=made))
    return actions


def _delete(desired: Object, pod: Object) -> list[Action]:
    which = f"delete Pod {pod['metadata']['name']} in StatefulSet {desired['metadata']['name']}"
    failed = Told("FailedDelete", f"{which} failed error: ")
    return [
        Delete("pods", key_of(pod), uid_of(pod), failed=failed),
        Record("Normal", "SuccessfulDelete", f"{which} successful"),
    ]


def _restore_identity(desired: Object, pod: Object, ordinal: int) -> list[Action]:
    missing = identity.missing_labels(pod, ordinal)
    if not missing:
        return []
    text = f"update Pod {pod['metadata']['name']} in StatefulSet {desired['metadata']['name']} successful"
    return [
        Patch("pods", key_of(pod), {"metadata": {"labels": missing}}, uid=uid_of(pod)),
        Record("Normal", "SuccessfulUpdate", text),
    ]


def _hand_over_claims(
    desired: Object, observed: Observed, owners: Sequence[Object], *, condemned: bool
) -> list[Action]:
    actions: list[Action] = []
    for pod in owners:
        for key in identity.claim_keys(desired, _ordinal(desired, pod)):
            claim = observed.volume_claims.get(key)
            refs = retention.owners(desired, claim, pod, condemned=condemned) if claim is not None else None
            if claim is not None and refs is not None and not is_deleting(claim):
                meta = {k: v for k, v in claim["metadata"].items() if k != "ownerReferences"}
                if refs:
                    meta["ownerReferences"] = refs
                actions.append(Update(CLAIMS, {**claim, "metadata": meta}))
    return actions


def _drain(
    desired: Object, observed: Observed, slots: Mapping[int, Object | None], condemned: Sequence[Object]
) -> tuple[list[Action], bool]:
    if not is_ordered(desired):
        return [a for pod in condemned if not is_deleting(pod) for a in _delete(desired, pod)], True
    everyone = [*(p for p in slots.values() if p is not None), *reversed(condemned)]
    first_unhealthy = next((p for p in everyone if not is_healthy(p)), None)
    for pod in condemned:
        if is_deleting(pod):
            return [], False
        settled = is_healthy(pod) and _is_available(desired, pod, observed.now)
        if not settled and pod is not first_unhealthy:
            return [], False
        return _delete(desired, pod), False
    return [], True


def _update(desired: Object, observed: Observed, slots: Mapping[int, Object | None]) -> list[Action]:
    """From the highest ordinal down to the partition, at most maxUnavailable pods missing at a time."""
    rolling = nested(desired, "spec", "updateStrategy", "rollingUpdate") or {}
    lowest = identity.start_of(desired) + rolling.get("partition", 0)
    budget = max(1, intstr.scaled(rolling.get("maxUnavailable", 1), len(slots), False))
    newest = observed.history.update["metadata"]["name"]
    targets = [(o, p) for o, p in sorted(slots.items(), reverse=True) if o >= lowest]
    actions: list[Action] = []
    for _, pod in targets:
        if budget <= 0:
            break
        if pod is None:
            budget -= 1
            continue
        if revisions.hash_of(pod) != newest and not is_deleting(pod):
            actions += _delete(desired, pod)
            budget -= 1
        elif not is_healthy(pod) or not _is_available(desired, pod, observed.now):
            budget -= 1
    return actions


def _superfluous(desired: Object, observed: Observed) -> list[Action]:
    history = observed.history
    live = {history.current["metadata"]["name"], history.update["metadata"]["name"]}
    live |= {revisions.hash_of(p) for p in observed.claim.owned}
    idle = [r for r in history.stored if r["metadata"]["name"] not in live]
    surplus = len(idle) - desired["spec"].get("revisionHistoryLimit", 10)
    return [Delete(revisions.RESOURCE, key_of(r), uid_of(r)) for r in idle[: max(0, surplus)]]


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status:
    history, owned = observed.history, observed.claim.owned
    current, update = history.current["metadata"]["name"], history.update["metadata"]["name"]
    there = [p for p in owned if pods.phase_of(p)]
    staying = [revisions.hash_of(p) for p in there if not is_deleting(p)]
    ready = [p for p in there if pods.phase_of(p) == "Running" and pods.is_ready(p)]
    counts = {
        "readyReplicas": len(ready),
        "currentReplicas": staying.count(current),
        "updatedReplicas": staying.count(update),
    }
    wanted = desired["spec"].get("replicas", 1)
    rolling = nested(desired, "spec", "updateStrategy", "type") != "OnDelete"
    if rolling and counts["updatedReplicas"] == wanted == len(there) == len(ready):
        current, counts["currentReplicas"] = update, counts["updatedReplicas"]
    stored = desired.get("status") or {}
    clash = isinstance(outcome.error, AlreadyExists) and any(
        isinstance(a, Create) and a.resource == revisions.RESOURCE for a in outcome.plan.actions
    )
    return {
        "observedGeneration": desired["metadata"].get("generation", 0),
        "replicas": len(there),
        **{k: v for k, v in counts.items() if v},
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": stored.get("collisionCount", 0) + clash,
        **({"conditions": stored["conditions"]} if stored.get("conditions") else {}),
        "availableReplicas": sum(_is_available(desired, p, observed.now) for p in ready),
    }


def _claimants(claim: Object, cache: Cache) -> Iterable[Key]:
    """A claim that goes away may be what a new pod waits for."""
    name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
    return [
        key_of(one)
        for one in (cache.list(RESOURCE, namespace) if is_deleting(claim) else ())
        if identity.is_claim_of(one, name)
    ]


STATEFULSET = ControllerType(
    name="statefulset-controller",
    watches=(
        Watch(RESOURCE),
        Watch("pods", wakes=controller_or_adopters("StatefulSet", RESOURCE)),
        Watch(revisions.RESOURCE, wakes=controller_or_adopters("StatefulSet", RESOURCE)),
        Watch(CLAIMS, wakes=_claimants),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
)

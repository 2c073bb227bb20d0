"""PodDisruptionBudget: how many of its pods are healthy, how many there should be, how many may be disrupted.

Watches   poddisruptionbudgets.policy; pods (wake the budgets that select them); the pods' controllers (read only)
Writes    poddisruptionbudgets.policy/status
Upstream  pkg/controller/disruption/disruption.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from timonel.control.actions import Outcome, Plan, Status
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.machinery import intstr, selectors
from timonel.objects import conditions, pods
from timonel.objects.meta import (
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    parse_time,
    uid_of,
)

RESOURCE = "poddisruptionbudgets.policy"
# An eviction that was granted counts as done for this long, until the pod shows it.
DELETION_TIMEOUT = 120.0
_SCALED = {
    "ReplicaSet": "replicasets.apps",
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
    "ReplicationController": "replicationcontrollers",
}


@dataclass(frozen=True, slots=True)
class Observed:
    """`expected`: what the pods' controllers want in all; None: unknown, as a pod has no controller with a scale."""

    pods: Sequence[Object]
    expected: int | None
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    namespace = desired["metadata"]["namespace"]
    matches = selectors.from_label_selector(desired["spec"].get("selector")).matches
    chosen = cache.select("pods", namespace, matches)
    return Observed(chosen, _expected(chosen, cache), cache.now())


def _expected(chosen: Iterable[Object], cache: Cache) -> int | None:
    scales: dict[str, int] = {}
    for pod in chosen:
        owner = _scaled_owner(pod, cache)
        if owner is None:
            return None
        scales[uid_of(owner)] = owner["spec"].get("replicas", 1)
    return sum(scales.values())


def _scaled_owner(pod: Object, cache: Cache) -> Object | None:
    """The topmost known controller: of a ReplicaSet's pods it is the Deployment."""
    found: Object | None = None
    current = pod
    while (ref := controller_of(current)) is not None and ref["kind"] in _SCALED:
        owner = cache.get(_SCALED[ref["kind"]], Key(pod["metadata"]["namespace"], ref["name"]))
        if owner is None or uid_of(owner) != ref["uid"]:
            break
        found = current = owner
    return found


def reconcile(desired: Object, observed: Observed) -> Plan:
    waits = [
        (parse_time(at) or 0.0) + DELETION_TIMEOUT - observed.now
        for at in _disrupted(desired, observed).values()
    ]
    return Plan((), min((w for w in waits if w > 0), default=None))


def _disrupted(desired: Object, observed: Observed) -> dict[str, str]:
    """Evictions granted lately whose pods do not show it yet."""
    granted: dict[str, str] = (desired.get("status") or {}).get("disruptedPods") or {}
    there = {p["metadata"]["name"] for p in observed.pods if not is_deleting(p)}
    return {
        name: at
        for name, at in granted.items()
        if name in there and (parse_time(at) or 0.0) + DELETION_TIMEOUT > observed.now
    }


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if is_deleting(desired):
        return None
    spec, stored = desired["spec"], desired.get("status") or {}
    disrupted = _disrupted(desired, observed)
    healthy = sum(
        pods.is_ready(p) and not is_deleting(p) and p["metadata"]["name"] not in disrupted
        for p in observed.pods
    )
    counts = _wanted(spec, observed)
    if counts is None:
        text = "found no controllers with a scale for the pods"
        verdict = ("False", "SyncFailed", text)
        expected, wanted, allowed = stored.get("expectedPods", 0), stored.get("desiredHealthy", 0), 0
    else:
        expected, wanted = counts
        allowed = max(0, healthy - wanted) if expected > 0 else 0
        verdict = ("True", "SufficientPods", "") if allowed else ("False", "InsufficientPods", "")
    condition = conditions.make("DisruptionAllowed", *verdict, observed.now)
    generation = desired["metadata"].get("generation", 0)
    condition["observedGeneration"] = generation
    condition.setdefault("message", "")
    known = conditions.put(stored.get("conditions"), condition)
    return {
        "observedGeneration": generation,
        **({"disruptedPods": disrupted} if disrupted else {}),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": wanted,
        "expectedPods": expected,
        "conditions": known,
    }


def _wanted(spec: Object, observed: Observed) -> tuple[int, int] | None:
    """(expected, to be kept healthy); None when a share of an unknown whole is asked for."""
    if "maxUnavailable" in spec:
        if observed.expected is None:
            return None
        out = intstr.scaled(spec["maxUnavailable"], observed.expected, True)
        return observed.expected, max(0, observed.expected - out)
    floor = spec.get("minAvailable", 1)
    if isinstance(floor, int):
        return len(observed.pods), floor
    if observed.expected is None:
        return None
    return observed.expected, intstr.scaled(floor, observed.expected, True)


def _its_budgets(pod: Object, cache: Cache) -> Iterable[Key]:
    labels, namespace = labels_of(pod), pod["metadata"]["namespace"]
    return [
        key_of(b)
        for b in cache.list(RESOURCE, namespace)
        if selectors.from_label_selector(b["spec"].get("selector")).matches(labels)
    ]


DISRUPTION = ControllerType(
    name="disruption-controller",
    watches=(
        Watch(RESOURCE),
        Watch("pods", wakes=_its_budgets),
        *(Watch(resource, wakes=nobody) for resource in _SCALED.values()),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
)

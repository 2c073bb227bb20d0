"""PodDisruptionBudget: how many of its pods are healthy, how many there should be, how many may be disrupted.

A pod that was to be disrupted and two minutes later is not even being deleted is to be disrupted no longer: `STALE`.

Watches   poddisruptionbudgets.policy; pods (wake the budgets that select them); the pods' controllers (read only)
Writes    poddisruptionbudgets.policy/status; pods/status (DisruptionTarget)
Upstream  pkg/controller/disruption/disruption.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from timonel.control.actions import Action, Outcome, Patch, Plan, Record, Status
from timonel.control.declare import Cache, ControllerType, Watch, nobody, selecting
from timonel.control.questions import Answers, Inquiry, Scaled, ScaleOf
from timonel.machinery import intstr
from timonel.objects import conditions, pods
from timonel.objects.indexing import BySelector
from timonel.objects.meta import (
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    nested,
    parse_time,
    uid_of,
)
from timonel.objects.workloads import selector_of
from timonel.records import dataclass

RESOURCE = "poddisruptionbudgets.policy"
# An eviction that was granted counts as done for this long, until the pod shows it.
DELETION_TIMEOUT = 120.0
STALE_AFTER = 120.0  # seconds
_SCALED = {
    "ReplicaSet": "replicasets.apps",
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
    "ReplicationController": "replicationcontrollers",
}


_UNSCALED = {"DaemonSet", "Job", "Node"}


@dataclass(frozen=True, slots=True)
class Observed:
    """`scales`: what each controller of the pods wants, by uid. `asked`: controllers of kinds that nobody here knows,
    by uid, with the pods they control; `lost`: pods whose controller has no scale; `unmanaged`: pods without any."""

    pods: Sequence[Object]
    scales: Mapping[str, int]
    asked: Mapping[str, ScaleOf]
    lost: tuple[str, ...]
    unmanaged: tuple[str, ...]
    now: float

    @property
    def expected(self) -> int:
        return sum(self.scales.values())


def observe(desired: Object, cache: Cache) -> Observed:
    namespace = desired["metadata"]["namespace"]
    selector = selector_of(desired)
    chosen = cache.select("pods", namespace, selector.matches, selector.exact())
    scales: dict[str, int] = {}
    asked: dict[str, ScaleOf] = {}
    lost: list[str] = []
    unmanaged: list[str] = []
    for pod in chosen:
        ref, owner = controller_of(pod), _scaled_owner(pod, cache)
        if owner is not None:
            scales[uid_of(owner)] = owner["spec"].get("replicas", 1)
        elif ref is None:
            unmanaged.append(pod["metadata"]["name"])
        elif ref["kind"] in _SCALED or ref["kind"] in _UNSCALED:
            lost.append(pod["metadata"]["name"])
        else:
            asked[ref["uid"]] = ScaleOf(ref["apiVersion"], ref["kind"], Key(namespace, ref["name"]))
    return Observed(chosen, scales, asked, tuple(lost), tuple(unmanaged), cache.now())


def told(observed: Observed, answers: Answers) -> Observed:
    """Any kind with a scale may control pods."""
    scales, lost = dict(observed.scales), list(observed.lost)
    for uid, question in observed.asked.items():
        found = answers[question]
        if isinstance(found, Scaled) and uid_of(found.scale) == uid:
            scales[uid] = nested(found.scale, "spec", "replicas") or 0
        else:
            lost += [
                p["metadata"]["name"] for p in observed.pods if (controller_of(p) or {}).get("uid") == uid
            ]
    return replace(observed, scales=scales, lost=tuple(lost))


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


def problem(desired: Object, observed: Observed) -> str:
    """Why it is unknown how many pods there should be; empty where that is known, or does not matter."""
    spec = desired["spec"]
    matters = "maxUnavailable" in spec or not isinstance(spec.get("minAvailable", 1), int)
    return f'found no controllers for pod "{observed.lost[0]}"' if matters and observed.lost else ""


def _events(desired: Object, observed: Observed) -> Iterator[Action]:
    if not observed.pods:
        yield Record("Normal", "NoPods", "No matching pods found")
    why = problem(desired, observed)
    if why:
        text = f"Failed to calculate the number of expected pods: {why}"
        yield Record("Warning", "CalculateExpectedPodCountFailed", text)
    spec = desired["spec"]
    matters = "maxUnavailable" in spec or not isinstance(spec.get("minAvailable", 1), int)
    if matters and observed.unmanaged and not why:
        shown = selector_of(desired)
        text = (
            f"Pods selected by this PodDisruptionBudget (selector: {shown}) were found to be unmanaged. As a"
        )
        text += " result, the status of the PDB cannot be calculated correctly, which may result in undefined"
        text += ' behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an'
        yield Record("Warning", "UnmanagedPods", text + " integer value.")


def reconcile(desired: Object, observed: Observed) -> Plan:
    waits = [
        (parse_time(at) or 0.0) + DELETION_TIMEOUT - observed.now
        for at in _disrupted(desired, observed).values()
    ]
    actions = () if is_deleting(desired) else tuple(_events(desired, observed))
    return Plan(actions, min((w for w in waits if w > 0), default=None))


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
    why = problem(desired, observed)
    if why:
        verdict = ("False", "SyncFailed", why)
        expected, wanted, allowed = stored.get("expectedPods", 0), stored.get("desiredHealthy", 0), 0
    else:
        expected, wanted = _wanted(spec, observed)
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


def _wanted(spec: Object, observed: Observed) -> tuple[int, int]:
    """(expected, to be kept healthy)."""
    if "maxUnavailable" in spec:
        out = intstr.scaled(spec["maxUnavailable"], observed.expected, True)
        return observed.expected, max(0, observed.expected - out)
    floor = spec.get("minAvailable", 1)
    if isinstance(floor, int):
        return len(observed.pods), floor
    return observed.expected, intstr.scaled(floor, observed.expected, True)


def stale_at(pod: Object) -> float | None:
    """When the condition DisruptionTarget has been there for long enough; None: that does not matter."""
    condition = pods.condition_of(pod, "DisruptionTarget")
    if condition is None or condition["status"] != "True" or is_deleting(pod) or pods.is_terminal(pod):
        return None
    if condition.get("reason") == "TerminationByKubelet":
        return None  # a node may take its time
    return (parse_time(condition.get("lastTransitionTime")) or 0.0) + STALE_AFTER


def recall(pod: Object, now: float) -> Plan:
    at = stale_at(pod)
    if at is None:
        return Plan()
    if at > now:
        return Plan((), at - now)
    condition = conditions.make("DisruptionTarget", "False", "", "", now)
    patch = {"status": {"conditions": [{**condition, "reason": None, "message": None}]}}
    key, uid = key_of(pod), uid_of(pod)
    return Plan(
        (Patch("pods", key, patch, kind="strategic", subresource="status", uid=uid, missing_ok=True),)
    )


BUDGETS = ControllerType(
    name="disruption-controller",
    watches=(
        Watch(RESOURCE),
        Watch("pods", wakes=selecting(RESOURCE, BySelector(selector_of))),
        *(Watch(resource, wakes=nobody) for resource in _SCALED.values()),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
    inquiry=Inquiry(questions=lambda desired, seen: seen.asked.values(), told=told),
)


def _if_marked(pod: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(pod),) if stale_at(pod) is not None else ()


STALE = ControllerType(
    name="disruption-controller",
    watches=(Watch("pods", wakes=_if_marked),),
    observe=lambda pod, cache: cache.now(),
    reconcile=recall,
)
DISRUPTION = (BUDGETS, STALE)

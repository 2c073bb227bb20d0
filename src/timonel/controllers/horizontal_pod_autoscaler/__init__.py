"""HorizontalPodAutoscaler: as many replicas as the metrics of a workload ask for.

    the target's scale → its metrics → what each asks for (`judging`, `replicas`) → the highest
    → steadied and limited (`behavior`) → the scale is written

It looks every 15 seconds, and when its spec has changed. What it recommended and changed lately is remembered from pass
to pass, for as long as a window or a period of its behavior reaches back; upstream forgets that on a restart, too.

Watches   horizontalpodautoscalers.autoscaling; pods (read only)
Asks      the scale of the target; metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io
Writes    the scale of the target; horizontalpodautoscalers.autoscaling/status
Upstream  pkg/controller/podautoscaler/horizontal.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from typing import Any

from timonel.control.actions import Action, Outcome, Plan, Record, Status, Update
from timonel.control.declare import Cache, ControllerType, Memory, Watch, nobody
from timonel.control.questions import Answers, Inquiry, Question, Scaled, ScaleOf
from timonel.controllers.horizontal_pod_autoscaler import behavior, judging, metrics
from timonel.controllers.horizontal_pod_autoscaler.behavior import Bounds, Moment
from timonel.controllers.horizontal_pod_autoscaler.replicas import Tolerance
from timonel.machinery import selectors
from timonel.machinery.quantity import Quantity
from timonel.objects.conditions import Condition
from timonel.objects.meta import Key, Object, format_time, is_deleting, key_of, labels_of, nested
from timonel.records import dataclass

RESOURCE = "horizontalpodautoscalers.autoscaling"
PERIOD = 15.0  # seconds between two looks
DEFAULT_TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Past:
    """`looked` and `spec` tell of the last pass; the rest of recent ones, the oldest first."""

    looked: float = float("-inf")
    spec: Object | None = None
    recommended: tuple[Moment, ...] = ()
    changed: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """`pods` are those of the namespace; `rivals` other autoscalers of the same target."""

    pods: Sequence[Object]
    rivals: tuple[str, ...]
    now: float
    answers: Answers = field(default_factory=dict)
    memory: Past = field(default_factory=Past)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a pass comes to. `wanted` None: no replica count could be computed."""

    conditions: tuple[tuple[str, str, str, str], ...]  # type, status, reason, message
    events: tuple[Record, ...] = ()
    scaled: Scaled | None = None
    current: int = 0
    wanted: int | None = None
    reason: str = ""
    metrics: list[Object] | None = None  # None: as they were
    recommended: int | None = None  # by the metrics, before anything tempers it

    @property
    def rescales(self) -> bool:
        return self.wanted is not None and self.wanted != self.current


def observe(desired: Object, cache: Cache) -> Observed:
    namespace, target = desired["metadata"]["namespace"], desired["spec"]["scaleTargetRef"]
    # Differs from upstream, which also sees that two targets select the same pods: others' scales are not asked for.
    others = cache.by(RESOURCE, _by_aim, (namespace, *_aim(target)))
    rivals = [str(key_of(other)) for other in others if not is_deleting(other)]
    return Observed(
        cache.list("pods", namespace), tuple(sorted(rivals)) if len(rivals) > 1 else (), cache.now()
    )


def _by_aim(autoscaler: Object) -> Iterable[tuple[str, ...]]:
    return ((autoscaler["metadata"]["namespace"], *_aim(autoscaler["spec"]["scaleTargetRef"])),)


def _aim(reference: Object) -> tuple[str, str, str]:
    return reference.get("apiVersion", "").partition("/")[0], reference["kind"], reference["name"]


def rests(desired: Object, observed: Observed) -> float:
    """Seconds until it is time to look again; none where the spec has changed since."""
    memory = observed.memory
    if memory.spec != desired["spec"]:
        return 0.0
    return max(0.0, memory.looked + PERIOD - observed.now)


def _scale_question(desired: Object) -> ScaleOf:
    target = desired["spec"]["scaleTargetRef"]
    key = Key(desired["metadata"]["namespace"], target["name"])
    return ScaleOf(target.get("apiVersion") or "v1", target["kind"], key)


def questions(desired: Object, observed: Observed) -> Iterable[Question]:
    if is_deleting(desired) or rests(desired, observed) > 0:
        return
    question = _scale_question(desired)
    yield question
    scaled = observed.answers.get(question)
    if not isinstance(scaled, Scaled) or not _is_measured(desired, scaled) or observed.rivals:
        return
    target = metrics.Target(question.key.namespace, _selector_of(scaled))
    if target.selector:
        for spec in desired["spec"].get("metrics") or ():
            yield from metrics.questions(spec, target, observed.answers)


def _is_measured(desired: Object, scaled: Scaled) -> bool:
    """Whether metrics matter: the target has replicas, and their number is within the bounds."""
    current, bounds = _replicas(scaled), _bounds(desired, scaled)
    if current == 0 and bounds.least != 0:
        return False
    return bounds.least <= current <= bounds.most


def _replicas(scaled: Scaled) -> int:
    return int(nested(scaled.scale, "spec", "replicas") or 0)


def _selector_of(scaled: Scaled) -> str:
    return str(nested(scaled.scale, "status", "selector") or "")


def _bounds(desired: Object, scaled: Scaled) -> Bounds:
    spec = desired["spec"]
    least = spec.get("minReplicas")
    return Bounds(_replicas(scaled), 1 if least is None else least, spec["maxReplicas"])


def _tolerance(desired: Object) -> Tolerance:
    rules = desired["spec"].get("behavior") or {}

    def side(name: str) -> float:
        given = (rules.get(name) or {}).get("tolerance")
        return DEFAULT_TOLERANCE if given is None else float(Quantity.parse(given))

    return Tolerance(side("scaleDown"), side("scaleUp"))


def decide(desired: Object, observed: Observed) -> Decision:
    scaled = observed.answers[_scale_question(desired)]
    if isinstance(scaled, Exception):
        message = f"the HPA controller was unable to get the target's current scale: {scaled}"
        failed = Record("Warning", "FailedGetScale", str(scaled))
        return Decision((("AbleToScale", "False", "FailedGetScale", message),), (failed,))
    able = "the HPA controller was able to get the target's current scale"
    base = Decision(
        (("AbleToScale", "True", "SucceededGetScale", able),), scaled=scaled, current=_replicas(scaled)
    )
    bounds = _bounds(desired, scaled)
    if bounds.current == 0 and bounds.least != 0:
        off = "scaling is disabled since the replica count of the target is zero"
        return _with(
            base, ("ScalingActive", "False", "ScalingDisabled", off), wanted=bounds.current, metrics=[]
        )
    if bounds.current > bounds.most:
        reason = "Current number of replicas above Spec.MaxReplicas"
        return _with(base, wanted=bounds.most, reason=reason, metrics=[])
    if bounds.current < bounds.least:
        reason = "Current number of replicas below Spec.MinReplicas"
        return _with(base, wanted=bounds.least, reason=reason, metrics=[])
    return _measured(desired, observed, base, bounds)


def _with(decision: Decision, *conditions: tuple[str, str, str, str], **changes: Any) -> Decision:
    return replace(decision, conditions=(*decision.conditions, *conditions), **changes)


def _measured(desired: Object, observed: Observed, base: Decision, bounds: Bounds) -> Decision:
    assert base.scaled is not None
    text = _selector_of(base.scaled)
    try:
        matches = selectors.parse_label_selector(text).matches
    except selectors.SelectorError as exc:
        message = f"couldn't convert selector into a corresponding internal selector object: {exc}"
        return _unmeasured(base, "InvalidSelector", message, event="InvalidSelector")
    if not text:
        message = "the HPA target's scale is missing a selector"
        return _unmeasured(
            base, "InvalidSelector", message, event="SelectorRequired", told="selector is required"
        )
    if observed.rivals:
        message = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(observed.rivals)}]"
        return _unmeasured(base, "AmbiguousSelector", message, event="AmbiguousSelector")
    situation = judging.Situation(
        metrics.Target(desired["metadata"]["namespace"], text),
        [pod for pod in observed.pods if matches(labels_of(pod))],
        observed.answers,
        bounds.current,
        int(nested(base.scaled.scale, "status", "replicas") or 0),
        _tolerance(desired),
        observed.now,
    )
    specs = desired["spec"].get("metrics") or ()
    found = judging.judge(specs, situation)
    events = tuple(Record("Warning", f.reason, f.text) for f in found.failures)
    if found.replicas is None:
        first = found.failures[0]
        condition = (
            "ScalingActive", "False", first.reason, f"the HPA was unable to compute the replica count: {first.text}",
        )  # fmt: skip
        summary = f"invalid metrics ({len(found.failures)} invalid out of {len(specs)}), first error is: "
        failed = Record("Warning", "FailedComputeMetricsReplicas", summary + first.message)
        return _with(base, condition, events=(*events, failed))
    active = f"the HPA was able to successfully calculate a replica count from {found.name}"
    valid = _with(
        base, ("ScalingActive", "True", "ValidMetricFound", active), events=events, metrics=found.statuses
    )
    return _tempered(desired, observed, valid, bounds, found)


def _unmeasured(base: Decision, reason: str, message: str, *, event: str, told: str = "") -> Decision:
    failed = (
        Record("Warning", event, told or message),
        Record("Warning", "FailedComputeMetricsReplicas", told or message),
    )
    return _with(base, ("ScalingActive", "False", reason, message), events=failed)


def _tempered(
    desired: Object, observed: Observed, decision: Decision, bounds: Bounds, found: judging.Sum
) -> Decision:
    assert found.replicas is not None
    rules, memory, now = desired["spec"].get("behavior"), observed.memory, observed.now
    recommended = memory.recommended or (Moment(now, bounds.current),)
    steady = behavior.steadied(rules, bounds, found.replicas, recommended, now)
    limit = behavior.limited(rules, bounds, steady.replicas, memory.changed, now)
    is_limited = "False" if limit.replicas == steady.replicas else "True"
    reason = ""
    if found.replicas > bounds.current:
        reason = f"{found.name} above target"
    elif found.replicas < bounds.current:
        reason = "All metrics below target"
    return _with(
        decision,
        ("AbleToScale", "True", steady.reason, steady.message),
        ("ScalingLimited", is_limited, limit.reason, limit.message),
        wanted=limit.replicas,
        reason=reason,
        recommended=found.replicas,
    )


def reconcile(desired: Object, observed: Observed) -> Plan:
    if is_deleting(desired):
        return Plan()
    wait = rests(desired, observed)
    if wait > 0:
        return Plan((), wait)
    decision = decide(desired, observed)
    actions: list[Action] = list(decision.events)
    if decision.rescales and decision.scaled is not None:
        scale = decision.scaled.scale
        changed = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": decision.wanted}}
        told = f"New size: {decision.wanted}; reason: {decision.reason}"
        actions.append(Update(decision.scaled.resource, changed, subresource="scale"))
        actions.append(Record("Normal", "SuccessfulRescale", told))
    return Plan(tuple(actions), PERIOD)


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if is_deleting(desired) or rests(desired, observed) > 0:
        return None
    decision, stored = decide(desired, observed), desired.get("status") or {}
    told = list(decision.conditions)
    failed = decision.rescales and outcome.error is not None
    if failed:
        message = f"the HPA controller was unable to update the target scale: {outcome.error}"
        told.append(("AbleToScale", "False", "FailedUpdateScale", message))
    elif decision.rescales:
        message = f"the HPA controller was able to update the target scale to {decision.wanted}"
        told.append(("AbleToScale", "True", "SucceededRescale", message))
    new: Status = {**stored, "conditions": _put(stored.get("conditions"), told, observed.now)}
    if decision.scaled is None:
        return new
    new["currentReplicas"] = decision.current
    if decision.wanted is None or failed:
        return new
    new["desiredReplicas"] = decision.wanted
    new["currentMetrics"] = decision.metrics or None
    if decision.rescales:
        new["lastScaleTime"] = format_time(observed.now)
    return new


def _put(
    known: Sequence[Condition] | None, told: Iterable[tuple[str, str, str, str]], now: float
) -> list[Condition]:
    """The last word on each type counts, in the place it had; the time moves only with the status."""
    before = {c["type"]: c for c in known or ()}
    found: dict[str, Condition] = dict(before)
    for type_, status, reason, message in told:
        old = before.get(type_)
        since = old.get("lastTransitionTime") if old is not None and old["status"] == status else None
        found[type_] = {
            "type": type_,
            "status": status,
            "lastTransitionTime": since or format_time(now),
            "reason": reason,
            "message": message,
        }
    return list(found.values())


def remember(desired: Object, observed: Observed, outcome: Outcome) -> Past:
    memory, now = observed.memory, observed.now
    if is_deleting(desired) or rests(desired, observed) > 0:
        return memory
    decision = decide(desired, observed)
    recommended, changed = list(memory.recommended), list(memory.changed)
    if decision.scaled is not None and not recommended:
        recommended.append(Moment(now, decision.current))
    if decision.recommended is not None:
        recommended.append(Moment(now, decision.recommended))
    if decision.rescales and outcome.error is None and decision.wanted is not None:
        changed.append(Moment(now, decision.wanted - decision.current))
    horizon = now - behavior.longest_memory(desired["spec"].get("behavior"))
    return Past(
        now,
        desired["spec"],
        tuple(m for m in recommended if m.at >= horizon) or tuple(recommended[-1:]),
        tuple(m for m in changed if m.at >= horizon),
    )


HORIZONTAL_POD_AUTOSCALER = ControllerType(
    name="horizontal-pod-autoscaler",
    watches=(Watch(RESOURCE), Watch("pods", wakes=nobody)),
    observe=observe,
    reconcile=reconcile,
    status=status,
    inquiry=Inquiry(questions, told=lambda seen, answers: replace(seen, answers=answers)),
    memory=Memory(recall=lambda seen, memory: replace(seen, memory=memory), remember=remember),
    watches_life=True,
)

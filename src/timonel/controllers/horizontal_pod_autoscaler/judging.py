"""What each metric of an autoscaler asks for, in numbers and in the words of its status.

Upstream: pkg/controller/podautoscaler/horizontal.go (computeReplicasForMetrics, computeStatusFor…).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from timonel.control.questions import Answers
from timonel.controllers.horizontal_pod_autoscaler import metrics, replicas
from timonel.controllers.horizontal_pod_autoscaler.metrics import Target, Unavailable
from timonel.controllers.horizontal_pod_autoscaler.replicas import Tolerance
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object
from timonel.records import dataclass

_MILLI = 1_000_000  # nano units


@dataclass(frozen=True, slots=True)
class Situation:
    """What all metrics are judged by: the target, the pods behind it, and how many there are and should be."""

    target: Target
    pods: Sequence[Object]
    answers: Answers
    wanted: int  # spec.replicas of the scale
    there: int  # status.replicas
    tolerance: Tolerance
    now: float


@dataclass(frozen=True, slots=True)
class Judged:
    replicas: int
    name: str  # of the metric, as Events tell it
    status: Object


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """A metric that says nothing: `text` is told by an Event, `message` by whoever sums up."""

    reason: str
    text: str
    message: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Of all metrics: the highest that any asks for; `failures` in order. `replicas` None: nothing can be said."""

    replicas: int | None
    name: str = ""
    statuses: list[Object] = field(default_factory=list)
    failures: tuple[Refused, ...] = ()


def judge(specs: Sequence[Object], situation: Situation) -> Sum:
    found: list[Judged] = []
    failures: list[Refused] = []
    for spec in specs:
        try:
            found.append(_JUDGES[spec["type"]](spec, situation))
        except Refused as refused:
            failures.append(refused)
    statuses = [one.status for one in found]
    best = max(found, key=lambda one: one.replicas, default=None)
    # With something unknown, fewer replicas than now would be a guess.
    if best is None or (failures and best.replicas < situation.wanted):
        return Sum(None, "", statuses, tuple(failures))
    return Sum(best.replicas, best.name, statuses, tuple(failures))


def _quantity(milli: int) -> str:
    return str(Quantity(milli * _MILLI))


def _milli(text: Any) -> int:
    return Quantity.parse(text).milli()


def _resource(spec: Object, situation: Situation) -> Judged:
    return _used(spec, "resource", "", situation)


def _container_resource(spec: Object, situation: Situation) -> Judged:
    return _used(spec, "containerResource", spec["containerResource"]["container"], situation)


def _used(spec: Object, field: str, container: str, situation: Situation) -> Judged:
    source, title = spec[field], spec["type"]
    resource, aim = source["name"], source["target"]
    reason = f"FailedGet{title}Metric"
    which = f"{container} container" if container else f"{resource} resource"
    prefix = f"failed to get {which} metric value: "
    averaged = aim.get("averageValue") is not None
    if not averaged and aim.get("averageUtilization") is None:
        text = "invalid resource metric source: neither an average utilization target nor an average value"
        text += " (usage) target was set"
        raise Refused(reason, text, prefix + text)
    try:
        try:
            samples = metrics.of_resource(situation.answers, situation.target, resource, container)
        except Unavailable as exc:
            raise Unavailable(f"unable to get metrics for resource {resource}: {exc}") from exc
        proposal, current, what = _proposed(samples, resource, container, aim, situation)
    except Unavailable as exc:
        text = f"failed to get {resource} {'usage' if averaged else 'utilization'}: {exc}"
        raise Refused(reason, text, prefix + text) from exc
    found = {"name": resource, **({"container": container} if container else {})}
    name = f"{resource} container resource" if container and not averaged else f"{resource} resource"
    return Judged(proposal, name + what, {"type": title, field: {**found, "current": current}})


def _proposed(
    samples: dict[str, metrics.Sample], resource: str, container: str, aim: Object, situation: Situation
) -> tuple[int, Object, str]:
    members = _members(situation)
    groups = replicas.grouped(members, samples, is_cpu=resource == "cpu", now=situation.now)
    if aim.get("averageValue") is not None:
        found = replicas.by_average(
            situation.wanted, _milli(aim["averageValue"]), members, samples, groups, situation.tolerance
        )
        return found.replicas, {"averageValue": _quantity(found.usage.average)}, ""
    requests = replicas.requests_of(members, resource, container)
    found = replicas.by_utilization(
        situation.wanted, aim["averageUtilization"], samples, groups, requests, situation.tolerance
    )
    usage = found.usage
    current = {"averageUtilization": usage.percent, "averageValue": _quantity(usage.average)}
    return found.replicas, current, " utilization (percentage of request)"


def _members(situation: Situation) -> Sequence[Object]:
    if not situation.pods:
        raise Unavailable("no pods returned by selector while calculating replica count")
    return situation.pods


def _pods(spec: Object, situation: Situation) -> Judged:
    source = spec["pods"]
    metric, name = source["metric"], source["metric"]["name"]
    try:
        try:
            samples = metrics.of_pods(situation.answers, situation.target, metric)
        except Unavailable as exc:
            raise Unavailable(f"unable to get metric {name}: {exc}") from exc
        members = _members(situation)
        groups = replicas.grouped(members, samples, is_cpu=False, now=situation.now)
        aim = _milli(source["target"]["averageValue"])
        found = replicas.by_average(situation.wanted, aim, members, samples, groups, situation.tolerance)
    except Unavailable as exc:
        raise Refused("FailedGetPodsMetric", str(exc), f"failed to get pods metric value: {exc}") from exc
    current = {"averageValue": _quantity(found.usage.average)}
    return Judged(
        found.replicas,
        f"pods metric {name}",
        {"type": "Pods", "pods": {"metric": metric, "current": current}},
    )


def _object(spec: Object, situation: Situation) -> Judged:
    source = spec["object"]
    metric, described, aim = source["metric"], source["describedObject"], source["target"]
    name, reason = metric["name"], "FailedGetObjectMetric"
    averaged = aim["type"] == "AverageValue"
    where = f"{described['kind']} on {situation.target.namespace} {described['name']}"
    try:
        try:
            value = metrics.of_object(situation.answers, situation.target, metric, described)
        except Unavailable as exc:
            raise Unavailable(f"unable to get metric {name}: {where}/{exc}") from exc
        if averaged:
            wanted, share = replicas.of_share(
                situation.there, value, _milli(aim["averageValue"]), situation.tolerance
            )
            title, current = f"external metric {name}({_shown(metric)})", {"averageValue": _quantity(share)}
        else:
            ratio = value / _milli(aim["value"])
            wanted = replicas.of_ratio(situation.wanted, ratio, situation.pods, situation.tolerance)
            title, current = f"{described['kind']} metric {name}", {"value": _quantity(value)}
    except Unavailable as exc:
        which = f"failed to get {name} object metric: " if averaged else ""
        raise Refused(reason, str(exc), f"failed to get object metric value: {which}{exc}") from exc
    told = {"metric": metric, "current": current, "describedObject": described}
    return Judged(wanted, title, {"type": "Object", "object": told})


def _external(spec: Object, situation: Situation) -> Judged:
    source = spec["external"]
    metric, aim = source["metric"], source["target"]
    name, reason = metric["name"], "FailedGetExternalMetric"
    averaged = aim.get("averageValue") is not None
    try:
        try:
            value = metrics.of_external(situation.answers, situation.target, metric)
        except Unavailable as exc:
            where = f"{situation.target.namespace}/{name}/{_shown(metric)}"
            raise Unavailable(f"unable to get external metric {where}: {exc}") from exc
        if averaged:
            wanted, share = replicas.of_share(
                situation.there, value, _milli(aim["averageValue"]), situation.tolerance
            )
            current = {"averageValue": _quantity(share)}
        else:
            ratio = value / _milli(aim["value"])
            wanted = replicas.of_ratio(situation.wanted, ratio, situation.pods, situation.tolerance)
            current = {"value": _quantity(value)}
    except Unavailable as exc:
        which = f"{name} external metric" if averaged else f"external metric {name}"
        text = f"failed to get {name} external metric value: failed to get {which}: {exc}"
        raise Refused(reason, str(exc), text) from exc
    status = {"type": "External", "external": {"metric": metric, "current": current}}
    return Judged(wanted, f"external metric {name}({_shown(metric)})", status)


def _shown(metric: Object) -> str:
    """A selector as Go prints a pointer to one."""
    selector = metric.get("selector")
    if selector is None:
        return "nil"
    labels = " ".join(f"{k}:{v}" for k, v in sorted((selector.get("matchLabels") or {}).items()))
    expressions = ",".join(
        f"LabelSelectorRequirement{{Key:{e['key']},Operator:{e['operator']},"
        f"Values:[{' '.join(e.get('values') or ())}],}}"
        for e in selector.get("matchExpressions") or ()
    )
    parts = f"MatchLabels:map[string]string{{{labels.replace(':', ': ')}{',' if labels else ''}}}"
    return f"&LabelSelector{{{parts},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"


_JUDGES = {
    "Resource": _resource,
    "ContainerResource": _container_resource,
    "Pods": _pods,
    "Object": _object,
    "External": _external,
}

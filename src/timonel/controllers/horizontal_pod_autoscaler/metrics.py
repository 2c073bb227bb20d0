"""What an autoscaler must ask about its metrics, and what the answers mean: milli units by pod, or one number.

Upstream: pkg/controller/podautoscaler/metrics/client.go; k8s.io/metrics for the three APIs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from timonel.control.questions import Answers, Question, Read, ResourceOf
from timonel.machinery import selectors
from timonel.machinery.errors import NotFound
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object, parse_time
from timonel.records import dataclass

CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
DEFAULT_WINDOW = 60.0  # seconds, of custom metrics that do not say
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Unavailable(Exception):
    """A metric could not be had; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`value` is in milli units."""

    value: int
    at: float
    window: float


@dataclass(frozen=True, slots=True)
class Target:
    """Whose metrics: the namespace, and the selector of the pods as text."""

    namespace: str
    selector: str


def _selector_text(selector: Any) -> str:
    return "" if not selector else str(selectors.from_label_selector(selector))


def _query(**parts: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in parts.items() if text)


def usage(target: Target) -> Read:
    return Read(
        f"/apis/metrics.k8s.io/v1beta1/namespaces/{target.namespace}/pods",
        _query(labelSelector=target.selector),
        "get pods.metrics.k8s.io",
    )


def pods_metric(version: str, target: Target, metric: Object) -> Read:
    return Read(
        f"/apis/custom.metrics.k8s.io/{version}/namespaces/{target.namespace}/pods/*/{metric['name']}",
        _query(labelSelector=target.selector, metricLabelSelector=_selector_text(metric.get("selector"))),
        "get pods.custom.metrics.k8s.io *",
    )


def object_metric(version: str, target: Target, metric: Object, resource: Any, name: str) -> Read:
    root = f"/apis/custom.metrics.k8s.io/{version}"
    if resource.plural == "namespaces" and not resource.group:
        path = f"{root}/namespaces/{name}/metrics/{metric['name']}"
    else:
        inside = f"/namespaces/{target.namespace}" if resource.namespaced else ""
        path = f"{root}{inside}/{resource}/{name}/{metric['name']}"
    query = _query(metricLabelSelector=_selector_text(metric.get("selector")))
    return Read(path, query, f"get {resource.plural}.custom.metrics.k8s.io {name}")


def external_metric(target: Target, metric: Object) -> Read:
    return Read(
        f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{target.namespace}/{metric['name']}",
        _query(labelSelector=_selector_text(metric.get("selector"))),
        f"get {metric['name']}.external.metrics.k8s.io",
    )


def questions(spec: Object, target: Target, answers: Answers) -> Iterator[Question]:
    """What must be asked for one of the metrics of a spec; older versions only where newer ones are not served."""
    match spec["type"]:
        case "Resource" | "ContainerResource":
            yield usage(target)
        case "External":
            yield external_metric(target, spec["external"]["metric"])
        case "Pods":
            yield from _custom(
                (pods_metric(v, target, spec["pods"]["metric"]) for v in CUSTOM_VERSIONS), answers
            )
        case "Object":
            described = spec["object"]["describedObject"]
            kind = _kind_of(described)
            yield kind
            resource = answers.get(kind)
            if resource is not None and not isinstance(resource, Exception):
                made = (
                    object_metric(v, target, spec["object"]["metric"], resource, described["name"])
                    for v in CUSTOM_VERSIONS
                )
                yield from _custom(made, answers)


def _kind_of(described: Object) -> ResourceOf:
    return ResourceOf(described.get("apiVersion", "v1"), described["kind"])


def _custom(versions: Iterable[Read], answers: Answers) -> Iterator[Question]:
    for question in versions:
        yield question
        if not isinstance(answers.get(question), NotFound):
            return


def _answered(versions: Iterable[Read], answers: Answers) -> Any:
    found: Any = None
    for question in versions:
        if question in answers:
            found = answers[question]
        if not isinstance(found, NotFound):
            break
    return found


def _items(answer: Any, which: str) -> list[Object]:
    if isinstance(answer, Exception):
        raise Unavailable(f"unable to fetch metrics from {which} metrics API: {answer}")
    items = answer.get("items") if isinstance(answer, dict) else None
    if not items:
        raise Unavailable(f"no metrics returned from {which} metrics API")
    return list(items)


def of_resource(answers: Answers, target: Target, resource: str, container: str) -> dict[str, Sample]:
    """By pod: what all its containers use, or one of them. A pod whose usage is not known is left out."""
    found: dict[str, Sample] = {}
    for item in _items(answers[usage(target)], "resource"):
        if container and all(c.get("name") != container for c in item.get("containers") or ()):
            pod = "/".join((target.namespace, item["metadata"]["name"]))
            text = f"container {container} not present in metrics for pod {pod}"
            raise Unavailable(f"failed to get container metrics: {text}")
        values = [
            Quantity.parse(c["usage"][resource]).milli() if resource in (c.get("usage") or {}) else None
            for c in item.get("containers") or ()
            if not container or c.get("name") == container
        ]
        if values and None not in values:
            total = sum(v for v in values if v is not None)
            found[item["metadata"]["name"]] = Sample(total, _time(item), _duration(item.get("window")))
    return found


def of_pods(answers: Answers, target: Target, metric: Object) -> dict[str, Sample]:
    answer = _answered((pods_metric(v, target, metric) for v in CUSTOM_VERSIONS), answers)
    found: dict[str, Sample] = {}
    for item in _items(answer, "custom"):
        window = item.get("windowSeconds")
        found[item["describedObject"]["name"]] = Sample(
            Quantity.parse(item["value"]).milli(),
            _time(item),
            float(window) if window is not None else DEFAULT_WINDOW,
        )
    return found


def of_object(answers: Answers, target: Target, metric: Object, described: Object) -> int:
    resource = answers[_kind_of(described)]
    if isinstance(resource, Exception):
        raise Unavailable(f"unable to fetch metrics from custom metrics API: {resource}")
    made = (object_metric(v, target, metric, resource, described["name"]) for v in CUSTOM_VERSIONS)
    return Quantity.parse(_items(_answered(made, answers), "custom")[0]["value"]).milli()


def of_external(answers: Answers, target: Target, metric: Object) -> int:
    items = _items(answers[external_metric(target, metric)], "external")
    return sum(Quantity.parse(item["value"]).milli() for item in items)


def _time(item: Object) -> float:
    return parse_time(item.get("timestamp")) or 0.0


def _duration(text: str | None) -> float:
    """Seconds of a Go duration such as 1m30s."""
    seconds, number, unit = 0.0, "", ""
    for char in f"{text or ''}0":
        if char.isdigit() or char == ".":
            if unit:
                seconds += float(number) * _UNITS.get(unit, 0.0)
                number, unit = "", ""
            number += char
        else:
            unit += char
    return seconds

"""autoscaling/v1 HorizontalPodAutoscaler to and from v2.

v1 has one number (the CPU target); everything else of v2 travels in annotations, as JSON of types that v1 has for the
purpose.

Upstream: pkg/apis/autoscaling/v1/{conversion,defaults}.go, pkg/apis/autoscaling/annotations.go.
"""

from __future__ import annotations

from typing import Any

import orjson

from timonel.apis.godiff import GoField, in_go_form
from timonel.objects.meta import Object

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS, BEHAVIOR = f"{_PREFIX}metrics", f"{_PREFIX}behavior"
_CONDITIONS, _CURRENT = f"{_PREFIX}conditions", f"{_PREFIX}current-metrics"

_RULES = (
    GoField("stabilizationWindowSeconds", "StabilizationWindowSeconds"),
    GoField("selectPolicy", "SelectPolicy"),
    GoField(
        "policies",
        "Policies",
        None,
        (
            GoField("type", "Type", ""),
            GoField("value", "Value", 0),
            GoField("periodSeconds", "PeriodSeconds", 0),
        ),
    ),
    GoField("tolerance", "Tolerance"),
)
_BEHAVIOR_SHAPE = (
    GoField("scaleUp", "ScaleUp", None, _RULES),
    GoField("scaleDown", "ScaleDown", None, _RULES),
)


def default_autoscaler(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if spec.get("targetCPUUtilizationPercentage") is None and not _other_metrics(obj):
        spec["targetCPUUtilizationPercentage"] = 80


def _other_metrics(obj: Object) -> list[Object]:
    text = (obj["metadata"].get("annotations") or {}).get(_METRICS)
    return _read(text) if text else []


def _read(text: str) -> Any:
    """The JSON of an annotation; what is none counts as absent, as upstream has it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return []


def to_v2(obj: Object) -> None:
    obj["apiVersion"] = "autoscaling/v2"
    spec, status = obj.get("spec") or {}, obj.get("status")
    annotations = obj["metadata"].get("annotations") or {}
    metrics = [metric_to_v2(metric) for metric in _other_metrics(obj)]
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics.append(_cpu({"type": "Utilization", "averageUtilization": percent}, "target"))
    if metrics:
        spec["metrics"] = metrics
    if BEHAVIOR in annotations:
        behavior = behavior_in(annotations[BEHAVIOR])
        if behavior:
            spec["behavior"] = behavior
    if status is not None:
        _status_to_v2(status, annotations)
    for key in (_METRICS, BEHAVIOR, _CONDITIONS, _CURRENT):
        annotations.pop(key, None)
    if not annotations:
        obj["metadata"].pop("annotations", None)


def _status_to_v2(status: Object, annotations: dict[str, str]) -> None:
    percent = status.pop("currentCPUUtilizationPercentage", None)
    current: list[Object] | None = None
    if _CURRENT in annotations:
        current = [current_to_v2(metric) for metric in _read(annotations[_CURRENT])]
    elif percent is not None:
        current = [_cpu({"averageUtilization": percent}, "current")]
    status["currentMetrics"] = current
    if _CONDITIONS in annotations:
        status["conditions"] = _read(annotations[_CONDITIONS])


def from_v2(obj: Object) -> None:
    obj["apiVersion"] = "autoscaling/v1"
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    found: dict[str, str] = {}
    others = []
    for metric in spec.pop("metrics", None) or ():
        percent = _cpu_percent(metric, "target")
        if percent is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = percent
        else:
            others.append(metric_from_v2(metric))
    if others:
        found[_METRICS] = orjson.dumps(others).decode()
    behavior = spec.pop("behavior", None)
    if behavior is not None:
        found[BEHAVIOR] = behavior_text(behavior)
    current = status.pop("currentMetrics", None)
    if current:
        found[_CURRENT] = orjson.dumps([current_from_v2(metric) for metric in current]).decode()
        percents = [p for metric in current if (p := _cpu_percent(metric, "current")) is not None]
        if percents:
            status["currentCPUUtilizationPercentage"] = percents[0]
    conditions = status.pop("conditions", None)
    if conditions:
        order = ("type", "status", "lastTransitionTime", "reason", "message")
        listed = [{k: c.get(k) for k in order if k in c or k == "lastTransitionTime"} for c in conditions]
        found[_CONDITIONS] = orjson.dumps(listed).decode()
    for key in ("currentReplicas", "desiredReplicas"):
        status.setdefault(key, 0)
    obj["status"] = status
    if found:
        obj["metadata"]["annotations"] = {**(obj["metadata"].get("annotations") or {}), **found}


def _cpu(amount: Object, key: str) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", key: amount}}


def _cpu_percent(metric: Object, key: str) -> int | None:
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    percent: int | None = (resource.get(key) or {}).get("averageUtilization")
    return percent


def behavior_in(text: str) -> Any:
    """The scaling behaviour that an annotation carries."""
    return _from_go(_read(text), _BEHAVIOR_SHAPE)


def behavior_text(behavior: Object) -> str:
    """The annotation that carries a scaling behaviour through versions without a field for it."""
    return orjson.dumps(in_go_form(behavior, _BEHAVIOR_SHAPE)).decode()


def _from_go(value: Any, shape: tuple[GoField, ...]) -> Any:
    """The wire form of a struct that was written under its Go names; absent and null fields stay out."""
    if isinstance(value, list):
        return [_from_go(item, shape) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        f.wire: _from_go(value[f.name], tuple(f.shape)) if f.shape else value[f.name]
        for f in shape
        if value.get(f.name) is not None
    }


# (key in v1, path in v2) of each source, in the order in which v1 writes them; "target" is replaced by "current" below
_NAMES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "object": (
        ("target", ("describedObject",)),
        ("metricName", ("metric", "name")),
        ("targetValue", ("target", "value")),
        ("selector", ("metric", "selector")),
        ("averageValue", ("target", "averageValue")),
    ),
    "pods": (
        ("metricName", ("metric", "name")),
        ("targetAverageValue", ("target", "averageValue")),
        ("selector", ("metric", "selector")),
    ),
    "resource": (
        ("name", ("name",)),
        ("targetAverageUtilization", ("target", "averageUtilization")),
        ("targetAverageValue", ("target", "averageValue")),
    ),
    "containerResource": (
        ("name", ("name",)),
        ("targetAverageUtilization", ("target", "averageUtilization")),
        ("targetAverageValue", ("target", "averageValue")),
        ("container", ("container",)),
    ),
    "external": (
        ("metricName", ("metric", "name")),
        ("metricSelector", ("metric", "selector")),
        ("targetValue", ("target", "value")),
        ("targetAverageValue", ("target", "averageValue")),
    ),
}


def _currently(name: str) -> str:
    """The v1 key of a current value: `currentAverageValue` where the target has `targetAverageValue`."""
    return "current" + name.removeprefix("target") if name.startswith("target") and name != "target" else name


def metric_from_v2(metric: Object) -> Object:
    found: Object = {"type": metric.get("type", "")}
    for key, pairs in _NAMES.items():
        if metric.get(key) is not None:
            found[key] = {name: v for name, path in pairs if (v := _at(metric[key], path)) is not None}
    return found


def metric_to_v2(metric: Object) -> Object:
    found: Object = {"type": metric.get("type", "")}
    for key, pairs in _NAMES.items():
        if metric.get(key) is not None:
            source: Object = {}
            for name, path in pairs:
                if metric[key].get(name) is not None:
                    _put(source, path, metric[key][name])
            target = source.setdefault("target", {})
            kinds = (
                ("averageUtilization", "Utilization"),
                ("averageValue", "AverageValue"),
                ("value", "Value"),
            )
            target["type"] = next((kind for field, kind in kinds if field in target), "")
            found[key] = source
    return found


def current_from_v2(metric: Object) -> Object:
    found: Object = {"type": metric.get("type", "")}
    for key, pairs in _NAMES.items():
        if metric.get(key) is not None:
            source = {**metric[key], "target": metric[key].get("current") or {}}
            found[key] = {_currently(name): v for name, path in pairs if (v := _at(source, path)) is not None}
    return found


def current_to_v2(metric: Object) -> Object:
    found: Object = {"type": metric.get("type", "")}
    for key, pairs in _NAMES.items():
        if metric.get(key) is not None:
            source: Object = {}
            for name, path in pairs:
                value = metric[key].get(_currently(name))
                if value is not None:
                    _put(source, tuple("current" if step == "target" else step for step in path), value)
            source.setdefault("current", {})
            found[key] = source
    return found


def _at(holder: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        holder = holder.get(step) if isinstance(holder, dict) else None
    return holder


def _put(holder: Object, path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        holder = holder.setdefault(step, {})
    holder[path[-1]] = value

"""autoscaling/v1 and v2: HorizontalPodAutoscaler, kept in the form of v2 (see `timonel.apis.autoscalingv1`).

Upstream: pkg/apis/autoscaling/{v2/defaults.go,validation/validation.go},
pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from timonel.apis import autoscalingv1, checks, resources
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, Converted, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

MAX_WINDOW, MAX_PERIOD = 3600, 1800
_SOURCES = {
    "Object": "object",
    "External": "external",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
_TYPES = tuple(sorted(_SOURCES))

# ---------------------------------------------------------------- defaults


def default_autoscaler(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        up: Object = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods, percent]}
        down: Object = {"selectPolicy": "Max", "policies": [dict(percent)]}
        for key, rules in (("scaleUp", up), ("scaleDown", down)):
            given = {k: v for k, v in (behavior.get(key) or {}).items() if v is not None}
            behavior[key] = {**rules, **given}


def prepare_create(obj: Object) -> None:
    obj["status"] = {"desiredReplicas": 0, "currentMetrics": None}


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


# ---------------------------------------------------------------- validation


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    at_least_one = "must be greater than or equal to 1"
    if least is not None and least < 1:
        yield field.invalid("spec.minReplicas", least, at_least_one)
    if most == 0:
        yield field.required("spec.maxReplicas", "must be set and greater than 0")
    elif most < 1:
        yield field.invalid("spec.maxReplicas", most, at_least_one)
    if least is not None and most < least:
        yield field.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    yield from _validate_target("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})
    yield from checks.each("spec.metrics", spec.get("metrics"), _validate_metric)
    if least == 0 and not any(m.get("type") in ("Object", "External") for m in spec.get("metrics") or ()):
        message = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield field.forbidden("spec.metrics", message)
    for key in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(key)
        if rules is not None:
            yield from _validate_rules(f"spec.behavior.{key}", rules)


def _validate_reference(path: str, ref: Object) -> Iterator[Cause]:
    for key in ("kind", "name"):
        if not ref.get(key):
            yield field.required(f"{path}.{key}")
        else:
            yield from checks.told(f"{path}.{key}", ref[key], names.path_segment_name(ref[key]))


def _validate_target(path: str, ref: Object) -> Iterator[Cause]:
    yield from _validate_reference(path, ref)
    version = ref.get("apiVersion", "")
    if version.count("/") > 1:
        yield field.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    elif "/" not in version and ref.get("kind") != "ReplicationController":
        yield field.invalid(f"{path}.apiVersion", version, "apiVersion must specify API group")


def _validate_metric(path: str, metric: Object) -> Iterator[Cause]:
    kind = metric.get("type", "")
    if not kind:
        yield field.required(f"{path}.type", "must specify a metric source type")
    yield from checks.one_of(f"{path}.type", kind, _TYPES)
    present = [key for key in _SOURCES.values() if metric.get(key) is not None]
    if present:
        yield from _SOURCE_RULES[present[0]](f"{path}.{present[0]}", metric[present[0]])
    expected = _SOURCES.get(kind)
    if expected is None:
        yield field.not_supported(f"{path}.type", kind, _TYPES)
    elif expected not in present:
        message = "must populate information for the given metric source"
        yield field.required(f"{path}.{expected}", message)
    if len(present) != 1:
        for key in present:
            if key != expected:
                yield field.forbidden(f"{path}.{key}", "must populate the given metric source only")


def _validate_metric_name(path: str, source: Object) -> Iterator[Cause]:
    name = (source.get("metric") or {}).get("name", "")
    if not name:
        yield field.required(f"{path}.metric.name", "must specify a metric name")
    else:
        yield from checks.told(f"{path}.metric.name", name, names.path_segment_name(name))


def _validate_amount(path: str, target: Object) -> Iterator[Cause]:
    kind = target.get("type", "")
    if not kind:
        yield field.required(f"{path}.type", "must specify a metric target type")
    if kind not in ("Utilization", "Value", "AverageValue"):
        yield field.invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    if target.get("value") is not None and not checks.quantity(target["value"]) > checks.quantity(0):
        yield field.invalid(f"{path}.value", str(target["value"]), "must be positive")
    if target.get("averageUtilization") is not None and target["averageUtilization"] < 1:
        yield field.invalid(
            f"{path}.averageUtilization", target["averageUtilization"], "must be greater than 0"
        )
    if target.get("averageValue") is not None and not checks.quantity(
        target["averageValue"]
    ) > checks.quantity(0):
        yield field.invalid(f"{path}.averageValue", str(target["averageValue"]), "must be positive")


def _validate_object(path: str, source: Object) -> Iterator[Cause]:
    target = source.get("target") or {}
    yield from _validate_reference(f"{path}.describedObject", source.get("describedObject") or {})
    yield from _validate_metric_name(path, source)
    yield from _validate_amount(f"{path}.target", target)
    if target.get("value") is None and target.get("averageValue") is None:
        yield field.required(f"{path}.target.averageValue", "must set either a target value or averageValue")


def _validate_external(path: str, source: Object) -> Iterator[Cause]:
    target = source.get("target") or {}
    yield from _validate_metric_name(path, source)
    yield from _validate_amount(f"{path}.target", target)
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        message = "must set either a target value for metric or a per-pod target"
        yield field.required(f"{path}.target.averageValue", message)
    if value is not None and average is not None:
        message = "may not set both a target value for metric and a per-pod target"
        yield field.forbidden(f"{path}.target.value", message)


def _validate_pods(path: str, source: Object) -> Iterator[Cause]:
    target = source.get("target") or {}
    yield from _validate_metric_name(path, source)
    yield from _validate_amount(f"{path}.target", target)
    if target.get("averageValue") is None:
        yield field.required(f"{path}.target.averageValue", "must specify a positive target averageValue")


def _validate_resource(path: str, source: Object) -> Iterator[Cause]:
    yield from checks.required(f"{path}.name", source.get("name"), "must specify a resource name")
    yield from _validate_resource_target(f"{path}.target", source.get("target") or {})


def _validate_container(path: str, source: Object) -> Iterator[Cause]:
    if not source.get("name"):
        yield field.required(f"{path}.name", "must specify a resource name")
    else:
        yield from resources.validate_container_name(f"{path}.name", source["name"])
    if not source.get("container"):
        yield field.required(f"{path}.container", "must specify a container")
    else:
        yield from checks.label(f"{path}.container", source["container"])
    yield from _validate_resource_target(f"{path}.target", source.get("target") or {})


def _validate_resource_target(path: str, target: Object) -> Iterator[Cause]:
    yield from _validate_amount(path, target)
    utilization, average = target.get("averageUtilization"), target.get("averageValue")
    if utilization is None and average is None:
        message = "must set either a target raw value or a target utilization"
        yield field.required(f"{path}.averageUtilization", message)
    if utilization is not None and average is not None:
        message = "may not set both a target raw value and a target utilization"
        yield field.forbidden(f"{path}.averageValue", message)


_SOURCE_RULES: dict[str, Callable[[str, Object], Iterator[Cause]]] = {
    "object": _validate_object,
    "external": _validate_external,
    "pods": _validate_pods,
    "resource": _validate_resource,
    "containerResource": _validate_container,
}


def _validate_rules(path: str, rules: Object) -> Iterator[Cause]:
    window, choice = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        yield field.invalid(
            f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"
        )
    if window is not None and window > MAX_WINDOW:
        message = f"must be less than or equal to {MAX_WINDOW}"
        yield field.invalid(f"{path}.stabilizationWindowSeconds", window, message)
    if choice is not None:
        yield from checks.one_of(f"{path}.selectPolicy", choice, ("Disabled", "Max", "Min"))
    if not rules.get("policies"):
        yield field.required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(rules.get("policies") or ()):
        at, value, period = (
            f"{path}.policies[{index}]",
            policy.get("value", 0),
            policy.get("periodSeconds", 0),
        )
        yield from checks.one_of(f"{at}.type", policy.get("type", ""), ("Percent", "Pods"))
        if value <= 0:
            yield field.invalid(f"{at}.value", value, "must be greater than zero")
        if period <= 0:
            yield field.invalid(f"{at}.periodSeconds", period, "must be greater than zero")
        if period > MAX_PERIOD:
            yield field.invalid(f"{at}.periodSeconds", period, f"must be less than or equal to {MAX_PERIOD}")
    if rules.get("tolerance") is not None:
        yield from checks.quantity_not_negative(f"{path}.tolerance", rules["tolerance"])


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    status = new.get("status") or {}
    for key in ("currentReplicas", "desiredReplicas"):
        yield from checks.not_negative(f"status.{key}", status.get(key))


# ---------------------------------------------------------------- columns


def _reference(obj: Object, now: float) -> str:
    ref = obj["spec"].get("scaleTargetRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _targets(obj: Object, now: float) -> str:
    wanted: list[Object] = obj["spec"].get("metrics") or []
    current: list[Object] = (obj.get("status") or {}).get("currentMetrics") or []
    if not wanted:
        return "<none>"
    shown = [_target(metric, current[i] if i < len(current) else {}) for i, metric in enumerate(wanted[:2])]
    text = ", ".join(shown)
    return text if len(wanted) <= 2 else f"{text} + {len(wanted) - 2} more..."


def _target(metric: Object, current: Object) -> str:
    kind = metric.get("type", "")
    key = _SOURCES.get(kind)
    if key is None:
        return "<unknown type>"
    source, seen = metric.get(key) or {}, (current.get(key) or {}).get("current") or {}
    target, name = source.get("target") or {}, source.get("name", "")
    prefix = f"{name}: " if kind in ("Resource", "ContainerResource") else ""
    if target.get("averageUtilization") is not None and target.get("averageValue") is None:
        found = seen.get("averageUtilization")
        return f"{prefix}{'<unknown>' if found is None else f'{found}%'}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        average = "" if kind in ("Resource", "ContainerResource", "Pods") else " (avg)"
        return f"{prefix}{seen.get('averageValue', '<unknown>')}/{target['averageValue']}{average}"
    return f"{prefix}{seen.get('value', '<unknown>')}/{target.get('value', '<auto>')}"


def _status(key: str) -> Any:
    return lambda obj, now: (obj.get("status") or {}).get(key, 0)


COLUMNS = (
    Column("Reference", _reference, doc="spec.scaleTargetRef"),
    Column("Targets", _targets, doc="spec.metrics"),
    Column(
        "MinPods",
        lambda o, now: "<unset>" if o["spec"].get("minReplicas") is None else str(o["spec"]["minReplicas"]),
        doc="spec.minReplicas",
    ),
    Column("MaxPods", lambda o, now: o["spec"].get("maxReplicas", 0), doc="spec.maxReplicas"),
    Column("Replicas", _status("currentReplicas"), doc="status.currentReplicas"),
    AGE,
)


HORIZONTAL_POD_AUTOSCALER_V1 = ResourceType(
    group="autoscaling",
    version="v1",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    short_names=("hpa",),
    categories=("all",),
    status=True,
    converted=Converted("autoscaling", "v2", autoscalingv1.to_v2, autoscalingv1.from_v2),
    default=autoscalingv1.default_autoscaler,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status,
    columns=COLUMNS,
)

HORIZONTAL_POD_AUTOSCALER_V2 = ResourceType(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    short_names=("hpa",),
    categories=("all",),
    status=True,
    default=default_autoscaler,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status,
    columns=COLUMNS,
)

RESOURCES = (HORIZONTAL_POD_AUTOSCALER_V2, HORIZONTAL_POD_AUTOSCALER_V1)

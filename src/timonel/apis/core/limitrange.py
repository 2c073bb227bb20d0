"""core/v1: LimitRange.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/registry/core/limitrange/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.apis import checks, resources
from timonel.apis.printing import CREATED_AT
from timonel.apis.resource import ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object


def default_limit_range(obj: Object) -> None:
    for limit in (obj.get("spec") or {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        limits, requests = limit.get("default") or {}, limit.get("defaultRequest") or {}
        for name, amount in (limit.get("max") or {}).items():
            limits.setdefault(name, amount)
        for name, amount in (*limits.items(), *(limit.get("min") or {}).items()):
            requests.setdefault(name, amount)
        for key, found in (("default", limits), ("defaultRequest", requests)):
            if found:
                limit[key] = found


def prepare_create(obj: Object) -> None:
    """The one kind that may go without a name: it gets its uid for one."""
    meta = obj["metadata"]
    if not meta.get("name") and not meta.get("generateName") and meta.get("uid"):
        meta["name"] = meta["uid"]


def validate(obj: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{index}]", limit.get("type", "")
        yield from checks.qualified_name(f"{path}.type", kind)
        if kind in seen:
            yield field.duplicate(f"{path}.type", kind)
        seen.add(kind)
        yield from _validate_names(path, kind, limit)
        yield from _validate_order(path, limit)


def _validate_names(path: str, kind: str, limit: Object) -> Iterator[Cause]:
    rule = resources.validate_container_name if kind in ("Pod", "Container") else resources.validate_name
    for key in ("max", "min"):
        for name in sorted(limit.get(key) or ()):
            yield from rule(f"{path}.{key}[{name}]", name)
    for key in ("default", "defaultRequest"):
        if kind == "Pod":
            if limit.get(key):
                yield field.forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'")
            continue
        for name in sorted(limit.get(key) or ()):
            yield from rule(f"{path}.{key}[{name}]", name)
    bounded = "storage" in (limit.get("min") or {}) or "storage" in (limit.get("max") or {})
    if kind == "PersistentVolumeClaim" and not bounded:
        message = "either minimum or maximum storage value is required, but neither was provided"
        yield field.required(f"{path}.limits", message)
    for name in sorted(limit.get("maxLimitRequestRatio") or ()):
        yield from rule(f"{path}.maxLimitRequestRatio[{name}]", name)


def _validate_order(path: str, limit: Object) -> Iterator[Cause]:
    """min <= defaultRequest <= default <= max, resource by resource."""
    bounds = {
        key: {name: checks.quantity(amount) for name, amount in (limit.get(key) or {}).items()}
        for key in ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio")
    }
    for name in sorted(set().union(*bounds.values())):
        least, most, limits, requests, ratio = (bounds[key].get(name) for key in bounds)
        shown = {"min": least, "max": most, "default": limits, "defaultRequest": requests}
        for at, low, what_low, high, what_high, value in (
            ("min", least, "min", most, "max", least),
            ("defaultRequest", least, "min", requests, "default request", requests),
            ("defaultRequest", requests, "default request", most, "max", requests),
            ("defaultRequest", requests, "default request", limits, "default limit", requests),
            ("default", least, "min", limits, "default", least),
            ("default", limits, "default", most, "max", most),
        ):
            if low is not None and high is not None and low > high:
                message = f"{what_low} value {low} is greater than {what_high} value {high}"
                yield field.invalid(f"{path}.{at}[{name}]", str(value), message)
        if ratio is not None:
            yield from _validate_ratio(f"{path}.maxLimitRequestRatio[{name}]", ratio, least, most)
        if not resources.allows_overcommit(name) and limits is not None and requests not in (None, limits):
            message = f"default value {limits} must equal to defaultRequest value {shown['defaultRequest']} in {name}"
            yield field.invalid(f"{path}.default[{name}]", str(limits), message)


def _validate_ratio(path: str, ratio: Quantity, least: Any, most: Any) -> Iterator[Cause]:
    if ratio < Quantity.parse("1"):
        yield field.invalid(path, str(ratio), f"ratio {ratio} is less than 1")
    if least is None or most is None or not least.milli():
        return
    possible = most.milli() / least.milli()
    if ratio.milli() / 1000 > possible:
        yield field.invalid(path, str(ratio), f"ratio {ratio} is greater than max/min = {possible:f}")


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


LIMIT_RANGE = ResourceType(
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    short_names=("limits",),
    create_on_update=True,
    default=default_limit_range,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    columns=(CREATED_AT,),
)

RESOURCES = (LIMIT_RANGE,)

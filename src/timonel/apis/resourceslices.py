"""resource.k8s.io/v1: what a ResourceSlice says of the devices of a pool.

Upstream: pkg/apis/resource/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from timonel.apis import checks
from timonel.apis.core.persistentsources import validate_driver_name
from timonel.apis.deviceclaims import validate_qualified
from timonel.apis.nodeselector import validate_node_selector
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Object

MAX_DEVICES, LONGEST = 128, 64
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
_WHERE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_WHERE_EACH = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to "
    "true in the ResourceSlice spec"
)
_NOT_EACH = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def validate_slice_spec(spec: Object) -> Iterator[Cause]:
    yield from validate_driver_name("spec.driver", spec.get("driver", ""))
    yield from _validate_pool(spec.get("pool") or {})
    yield from _validate_place(spec)
    devices: list[Object] = spec.get("devices") or []
    if len(devices) > MAX_DEVICES:
        yield field.too_many("spec.devices", len(devices), MAX_DEVICES)
    for index, device in enumerate(devices):
        path, name = f"spec.devices[{index}]", device.get("name", "")
        if name in [d.get("name", "") for d in devices[:index]]:
            yield field.duplicate(path, name)
            continue
        yield from _validate_device(path, device, bool(spec.get("perDeviceNodeSelection")))
    counters: list[Object] = spec.get("sharedCounters") or []
    for index, counter in enumerate(counters):
        path, name = f"spec.sharedCounters[{index}]", counter.get("name", "")
        if name in [c.get("name", "") for c in counters[:index]]:
            yield field.duplicate(path, name)
            continue
        yield from _validate_counters(path, "name", counter)


def _validate_pool(pool: Object) -> Iterator[Cause]:
    path, name = "spec.pool", pool.get("name", "")
    if not name:
        yield field.required(f"{path}.name")
    else:
        if len(name) > 253:
            yield field.too_long(f"{path}.name", 253)
        for part in name.split("/"):
            yield from checks.subdomain(f"{path}.name", part)
    if pool.get("resourceSliceCount", 0) <= 0:
        yield field.invalid(
            f"{path}.resourceSliceCount", pool.get("resourceSliceCount", 0), "must be greater than zero"
        )
    if pool.get("generation", 0) < 0:
        yield field.invalid(f"{path}.generation", pool["generation"], "must be greater than or equal to zero")


def _validate_place(spec: Object) -> Iterator[Cause]:
    chosen = []
    node = spec.get("nodeName")
    if node is not None:
        if node:
            chosen.append("nodeName")
            yield from checks.subdomain("spec.nodeName", node)
        else:
            yield field.invalid("spec.nodeName", node, "must be either unset or set to a non-empty string")
    selector = spec.get("nodeSelector")
    if selector is not None:
        chosen.append("nodeSelector")
        yield from validate_node_selector("spec.nodeSelector", selector)
        terms = selector.get("nodeSelectorTerms")
        if len(terms or ()) != 1:
            message = "must have exactly one node selector term"
            yield field.invalid("spec.nodeSelector.nodeSelectorTerms", _shown(terms), message)
    for key in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(key):
            chosen.append(key)
        elif spec.get(key) is not None:
            yield field.invalid(f"spec.{key}", False, "must be either unset or set to true")
    if not chosen:
        yield field.required("spec", _WHERE)
    elif len(chosen) > 1:
        listed = "{" + ", ".join(f"`{key}`" for key in chosen) + "}"
        yield field.invalid("spec", listed, f"{_WHERE}, but multiple fields are set")


def _shown(terms: list[Object] | None) -> Any:
    """Node selector terms as upstream prints its internal structs."""
    if terms is None:
        return None

    def requirements(items: list[Object] | None) -> Any:
        if items is None:
            return None
        return [
            {"Key": e.get("key", ""), "Operator": e.get("operator", ""), "Values": e.get("values")}
            for e in items
        ]

    return [
        {
            "MatchExpressions": requirements(term.get("matchExpressions")),
            "MatchFields": requirements(term.get("matchFields")),
        }
        for term in terms
    ]


def _validate_device(path: str, device: Object, per_device: bool) -> Iterator[Cause]:
    yield from checks.label(f"{path}.name", device.get("name", ""))
    for name, attribute in sorted((device.get("attributes") or {}).items()):
        at = f"{path}.attributes[{name}]"
        yield from validate_qualified(at, name, full=False)
        yield from _validate_attribute(at, attribute)
    shared = bool(device.get("allowMultipleAllocations"))
    for name, capacity in sorted((device.get("capacity") or {}).items()):
        at = f"{path}.capacity[{name}]"
        yield from validate_qualified(at, name, full=False)
        policy = capacity.get("requestPolicy")
        if policy is not None and not shared:
            yield field.forbidden(f"{at}.requestPolicy", "allowMultipleAllocations must be true")
        elif policy is not None:
            yield from _validate_policy(
                f"{at}.requestPolicy", policy, checks.quantity(capacity.get("value", "0"))
            )
    yield from checks.each(f"{path}.taints", device.get("taints"), _validate_taint)
    used: list[Object] = device.get("consumesCounters") or []
    for index, counter in enumerate(used):
        at, name = f"{path}.consumesCounters[{index}]", counter.get("counterSet", "")
        if name in [c.get("counterSet", "") for c in used[:index]]:
            yield field.duplicate(at, name)
            continue
        yield from _validate_counters(at, "counterSet", counter)
    yield from _validate_device_place(path, device, per_device)
    yield from _validate_binding(path, device)


def _validate_attribute(path: str, attribute: Object) -> Iterator[Cause]:
    given = [key for key in ("bool", "int", "string", "version") if attribute.get(key) is not None]
    for key in given:
        value = attribute[key]
        if key == "version" and not _SEMVER.fullmatch(value):
            yield field.invalid(
                f"{path}.version", value, "must be a string compatible with semver.org spec 2.0.0"
            )
        if key in ("version", "string") and len(value) > LONGEST:
            yield field.too_long(f"{path}.{key}", LONGEST)
    if not given:
        yield field.invalid(path, "", "exactly one value must be specified")
    elif len(given) > 1:
        yield field.invalid(path, attribute, "exactly one value must be specified")


def _validate_taint(path: str, taint: Object) -> Iterator[Cause]:
    yield from checks.qualified_name(f"{path}.key", taint.get("key", ""))
    if taint.get("value"):
        yield from checks.told(f"{path}.value", taint["value"], names.label_value(taint["value"]))
    if not taint.get("effect"):
        yield field.required(f"{path}.effect")
    else:
        yield from checks.one_of(f"{path}.effect", taint["effect"], ("NoExecute", "NoSchedule", "None"))


def _validate_counters(path: str, key: str, counter: Object) -> Iterator[Cause]:
    if not counter.get(key):
        yield field.required(f"{path}.{key}")
    else:
        yield from checks.label(f"{path}.{key}", counter[key])
    if not counter.get("counters"):
        yield field.required(f"{path}.counters")
    for name in sorted(counter.get("counters") or ()):
        yield from checks.label(f"{path}.counters[{name}]", name)


def _validate_device_place(path: str, device: Object, per_device: bool) -> Iterator[Cause]:
    keys = ("nodeName", "nodeSelector", "allNodes")
    if not per_device:
        if any(device.get(key) is not None for key in keys):
            yield field.invalid(path, None, _NOT_EACH)
        return
    chosen = 0
    if device.get("nodeName") is not None:
        if device["nodeName"]:
            chosen += 1
            yield from checks.subdomain(f"{path}.nodeName", device["nodeName"])
        else:
            yield field.invalid(f"{path}.nodeName", "", "must not be empty")
    if device.get("nodeSelector") is not None:
        chosen += 1
        yield from validate_node_selector(f"{path}.nodeSelector", device["nodeSelector"])
    if device.get("allNodes") is not None:
        if device["allNodes"]:
            chosen += 1
        else:
            yield field.invalid(f"{path}.allNodes", False, "must be either unset or set to true")
    if chosen != 1:
        yield field.required(path, _WHERE_EACH)


def _validate_binding(path: str, device: Object) -> Iterator[Cause]:
    keys = ("bindingConditions", "bindingFailureConditions")
    for key in keys:
        items: list[str] = device.get(key) or []
        for index, item in enumerate(items):
            if item in items[:index]:
                yield field.duplicate(f"{path}.{key}[{index}]", item)
            else:
                yield from checks.qualified_name(f"{path}.{key}[{index}]", item)
    for key, other in (keys, keys[::-1]):
        if not device.get(key) and device.get(other):
            yield field.invalid(f"{path}.{key}", device.get(key), f"{key} are required to use {other}")


def _validate_policy(path: str, policy: Object, most: Quantity) -> Iterator[Cause]:
    default, values, span = policy.get("default"), policy.get("validValues") or [], policy.get("validRange")
    if values:
        if default is None:
            yield field.required(f"{path}.default", "required when validValues is defined")
        yield from _validate_values(f"{path}.validValues", values, default, most)
    if span is not None:
        if default is None:
            yield field.required(f"{path}.default", "required when validRange is defined")
            return
        yield from _validate_range(f"{path}.validRange", span, checks.quantity(default), most)


def _validate_values(path: str, values: list[Any], default: Any, most: Quantity) -> Iterator[Cause]:
    amounts = [checks.quantity(value) for value in values]
    for index, amount in enumerate(amounts):
        if index and amount < amounts[index - 1]:
            yield field.invalid(f"{path}[{index}]", str(amount), "values must be sorted in ascending order")
    for index, amount in enumerate(amounts):
        if amount > most:
            message = f"option is larger than capacity value: {most}"
            yield field.invalid(f"{path}[{index}]", str(amount), message)
    if default is not None and checks.quantity(default) not in amounts:
        message = "default value is not valid according to the requestPolicy"
        yield field.invalid(path, str(checks.quantity(default)), message)


def _validate_range(path: str, span: Object, default: Quantity, most: Quantity) -> Iterator[Cause]:
    if span.get("min") is None:
        yield field.required(f"{path}.min", "required when validRange is defined")
        return
    least = checks.quantity(span["min"])
    top = checks.quantity(span["max"]) if span.get("max") is not None else None
    step = checks.quantity(span["step"]) if span.get("step") is not None else None
    if least > most:
        yield field.invalid(f"{path}.min", str(least), f"min is larger than capacity value: {most}")
    if default < least:
        yield field.invalid(f"{path}.min", str(default), f"default is less than min: {least}")
    if top is not None:
        if top > most:
            yield field.invalid(f"{path}.max", str(top), f"max is larger than capacity value: {most}")
        if least > top:
            yield field.invalid(f"{path}.max", str(least), f"min is larger than max: {top}")
        if default > top:
            yield field.invalid(f"{path}.max", str(default), f"default is more than max: {top}")
    if step is None:
        return
    if least + step > most:
        message = f"one step {least + step} is larger than capacity value: {most}"
        yield field.invalid(f"{path}.step", str(step), message)
    for amount in (default, top):
        if amount is not None and step and (amount - least).value() % step.value():
            message = f"value is not a multiple of a given step ({step}) from ({least})"
            yield field.invalid(f"{path}.step", str(amount), message)

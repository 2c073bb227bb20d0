"""scheduling.k8s.io/v1: PriorityClass.

Upstream: pkg/apis/scheduling/{v1/defaults.go,validation/validation.go},
pkg/registry/scheduling/priorityclass/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

HIGHEST_FOR_USERS = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def default_priority_class(obj: Object) -> None:
    if obj.get("preemptionPolicy") is None:
        obj["preemptionPolicy"] = "PreemptLowerPriority"
    obj.setdefault("value", 0)


def validate(obj: Object) -> Iterator[Cause]:
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith(SYSTEM_PREFIX):
        wrong = _wrong_system_class(name, obj)
        if wrong:
            message = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield field.forbidden("metadata.name", message + wrong)
    elif value > HIGHEST_FOR_USERS:
        message = f"maximum allowed value of a user defined priority is {HIGHEST_FOR_USERS}"
        yield field.forbidden("value", message)
    policy = obj.get("preemptionPolicy")
    if not policy:
        yield field.required("preemptionPolicy")
    else:
        yield from checks.one_of("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"))


def _wrong_system_class(name: str, obj: Object) -> str:
    if name not in SYSTEM_CLASSES:
        return f"{name} is not a known system priority class"
    if obj.get("value", 0) != SYSTEM_CLASSES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
    if obj.get("globalDefault"):
        return f"globalDefault of {name} PriorityClass must be false"
    return ""


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    if new.get("value", 0) != old.get("value", 0):
        yield field.forbidden("value", "may not be changed in an update.")
    key = "preemptionPolicy"
    yield from checks.immutable(key, new.get(key), old.get(key))


PRIORITY_CLASS = ResourceType(
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    namespaced=False,
    short_names=("pc",),
    generation=True,
    default=default_priority_class,
    validate=validate,
    validate_update=validate_update,
    columns=(
        Column("Value", lambda o, now: o.get("value", 0), "integer", doc="value"),
        Column("Global-Default", lambda o, now: bool(o.get("globalDefault")), "boolean", doc="globalDefault"),
        AGE,
        Column("PreemptionPolicy", lambda o, now: o.get("preemptionPolicy", ""), doc="preemptionPolicy"),
    ),
)

RESOURCES = (PRIORITY_CLASS,)

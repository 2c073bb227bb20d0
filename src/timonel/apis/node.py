"""node.k8s.io/v1: RuntimeClass.

Upstream: pkg/apis/node/validation/validation.go, pkg/registry/node/runtimeclass/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, resources
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.apis.tolerations import validate_toleration
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def validate(obj: Object) -> Iterator[Cause]:
    handler = obj.get("handler", "")
    if not handler:
        yield field.required("handler")
    else:
        yield from checks.label("handler", handler)
    for name, amount in sorted(((obj.get("overhead") or {}).get("podFixed") or {}).items()):
        path = f"overhead.limits[{name}]"  # where upstream says they are
        yield from resources.validate_container_name(path, name)
        yield from checks.resource_quantity(path, name, amount)
    scheduling = obj.get("scheduling")
    if scheduling is not None:
        yield from checks.label_map("scheduling.nodeSelector", scheduling.get("nodeSelector"))
        yield from _validate_tolerations(scheduling.get("tolerations") or [])


def _validate_tolerations(tolerations: list[Object]) -> Iterator[Cause]:
    yield from checks.each("scheduling.tolerations", tolerations, validate_toleration)
    for index, toleration in enumerate(tolerations):
        if toleration in tolerations[:index]:
            yield field.duplicate(f"scheduling.tolerations[{index}]", toleration)


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)
    yield from checks.immutable("handler", new.get("handler"), old.get("handler"))


RUNTIME_CLASS = ResourceType(
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    namespaced=False,
    unconditional_update=False,
    validate=validate,
    validate_update=validate_update,
    columns=(Column("Handler", lambda o, now: o.get("handler", "")), AGE),
)

RESOURCES = (RUNTIME_CLASS,)

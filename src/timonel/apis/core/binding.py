"""core/v1: Binding, which puts a pod on a node. Never stored: creating one acts on the pod of its name.

Upstream: pkg/apis/core/validation/validation.go ValidatePodBinding.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.resource import ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def validate(obj: Object) -> Iterator[Cause]:
    target = obj.get("target") or {}
    kind = target.get("kind", "")
    if kind not in ("", "Node"):
        # upstream prints "<empty>" for the kind that may be left out
        yield field.not_supported("target.kind", kind, ("Node", "<empty>"))
    if not target.get("name"):
        yield field.required("target.name")
    else:
        yield from checks.subdomain("target.name", target["name"])


BINDING = ResourceType(
    group="",
    version="v1",
    kind="Binding",
    plural="bindings",
    verbs=("create",),
    validate=validate,
)

RESOURCES = (BINDING,)

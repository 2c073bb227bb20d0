"""core/v1: Binding."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

BINDING = ResourceType(
    group="",
    version="v1",
    kind="Binding",
    plural="bindings",
    verbs=("create",),
)

RESOURCES = (BINDING,)

"""core/v1: ComponentStatus."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

COMPONENT_STATUS = ResourceType(
    group="",
    version="v1",
    kind="ComponentStatus",
    plural="componentstatuses",
    namespaced=False,
    short_names=("cs",),
    verbs=("get", "list"),
)

RESOURCES = (COMPONENT_STATUS,)

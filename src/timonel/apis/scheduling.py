"""scheduling.k8s.io/v1: PriorityClass."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

PRIORITY_CLASS = ResourceType(
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    namespaced=False,
    short_names=("pc",),
)

RESOURCES = (PRIORITY_CLASS,)

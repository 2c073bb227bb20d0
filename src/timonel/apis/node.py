"""node.k8s.io/v1: RuntimeClass."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

RUNTIME_CLASS = ResourceType(
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    namespaced=False,
)

RESOURCES = (RUNTIME_CLASS,)

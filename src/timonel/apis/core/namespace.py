"""core/v1: Namespace."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

NAMESPACE = ResourceType(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    status=True,
    subresources=("finalize",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)

RESOURCES = (NAMESPACE,)

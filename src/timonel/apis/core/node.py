"""core/v1: Node."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

NODE = ResourceType(
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    status=True,
    subresources=("proxy",),
)

RESOURCES = (NODE,)

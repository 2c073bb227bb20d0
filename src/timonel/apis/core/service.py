"""core/v1: Service."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

SERVICE = ResourceType(
    group="",
    version="v1",
    kind="Service",
    plural="services",
    short_names=("svc",),
    categories=("all",),
    status=True,
    subresources=("proxy",),
)

RESOURCES = (SERVICE,)

"""core/v1: ResourceQuota."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

RESOURCE_QUOTA = ResourceType(
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    short_names=("quota",),
    status=True,
)

RESOURCES = (RESOURCE_QUOTA,)

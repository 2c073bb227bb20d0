"""core/v1: ServiceAccount."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

SERVICE_ACCOUNT = ResourceType(
    group="",
    version="v1",
    kind="ServiceAccount",
    plural="serviceaccounts",
    short_names=("sa",),
    subresources=("token",),
)

RESOURCES = (SERVICE_ACCOUNT,)

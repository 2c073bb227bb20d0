"""core/v1: Endpoints."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

ENDPOINTS = ResourceType(
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    short_names=("ep",),
    singular="endpoints",
    create_on_update=False,
)

RESOURCES = (ENDPOINTS,)

"""core/v1: Event."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

EVENT = ResourceType(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    short_names=("ev",),
    create_on_update=True,
    ttl=3600.0,
)

RESOURCES = (EVENT,)

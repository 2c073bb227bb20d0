"""events.k8s.io/v1: Event."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

EVENT = ResourceType(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    short_names=("ev",),
    create_on_update=True,
)

RESOURCES = (EVENT,)

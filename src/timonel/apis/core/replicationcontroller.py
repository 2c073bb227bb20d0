"""core/v1: ReplicationController."""

from __future__ import annotations

from timonel.apis.resource import ResourceType, Scale

REPLICATION_CONTROLLER = ResourceType(
    group="",
    version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    short_names=("rc",),
    categories=("all",),
    status=True,
    generation=True,
    scale=Scale(),
)

RESOURCES = (REPLICATION_CONTROLLER,)

"""core/v1: LimitRange."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

LIMIT_RANGE = ResourceType(
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    short_names=("limits",),
)

RESOURCES = (LIMIT_RANGE,)

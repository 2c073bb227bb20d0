"""core/v1: Secret."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

SECRET = ResourceType(
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    secret=True,
)

RESOURCES = (SECRET,)

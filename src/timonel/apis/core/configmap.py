"""core/v1: ConfigMap."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

CONFIG_MAP = ResourceType(
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    short_names=("cm",),
)

RESOURCES = (CONFIG_MAP,)

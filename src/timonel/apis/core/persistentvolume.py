"""core/v1: PersistentVolume."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

PERSISTENT_VOLUME = ResourceType(
    group="",
    version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    namespaced=False,
    short_names=("pv",),
    status=True,
)

RESOURCES = (PERSISTENT_VOLUME,)

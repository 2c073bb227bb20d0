"""core/v1: PersistentVolumeClaim."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

PERSISTENT_VOLUME_CLAIM = ResourceType(
    group="",
    version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    short_names=("pvc",),
    status=True,
)

RESOURCES = (PERSISTENT_VOLUME_CLAIM,)

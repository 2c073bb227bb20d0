"""A VolumeAttributesClass that is being deleted stays while a claim or a volume has its attributes or is to get them.

Watches   volumeattributesclasses.storage.k8s.io; persistentvolumeclaims, persistentvolumes (wake the classes they name)
Writes    volumeattributesclasses.storage.k8s.io (the protection finalizer)
Upstream  pkg/controller/volume/vacprotection/vac_protection_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, is_deleting, nested, protected

RESOURCE = "volumeattributesclasses.storage.k8s.io"
FINALIZER = "kubernetes.io/vac-protection"


def classes_of(obj: Object) -> set[str]:
    """Those that a claim or a volume names."""
    named = (
        nested(obj, "spec", "volumeAttributesClassName"),
        nested(obj, "status", "currentVolumeAttributesClassName"),
        nested(obj, "status", "modifyVolumeStatus", "targetVolumeAttributesClassName"),
    )
    return {name for name in named if name}


def observe(desired: Object, cache: Cache) -> bool:
    """Whether anything uses the class. Asked only when it matters."""
    if not is_deleting(desired):
        return True
    name = desired["metadata"]["name"]
    users = (*cache.list("persistentvolumeclaims"), *cache.list("persistentvolumes"))
    return any(name in classes_of(obj) for obj in users)


def reconcile(desired: Object, in_use: bool) -> Plan:
    changed = protected(desired, FINALIZER, in_use=in_use)
    return Plan() if changed is None else Plan((Update(RESOURCE, changed),))


def _its_classes(obj: Object, cache: Cache) -> Iterable[Key]:
    return [Key("", name) for name in classes_of(obj)]


VOLUMEATTRIBUTESCLASS_PROTECTION = ControllerType(
    name="volumeattributesclass-protection-controller",
    watches=(
        Watch(RESOURCE),
        Watch("persistentvolumeclaims", wakes=_its_classes),
        Watch("persistentvolumes", wakes=_its_classes),
    ),
    observe=observe,
    reconcile=reconcile,
)

"""Claims that ask for more than their volume has: whoever made the volume is told to make it larger.

No volume is resized here: that is done by the driver's own resizer, which sees the claim itself.

Watches   persistentvolumeclaims; persistentvolumes (read only)
Writes    Events
Upstream  pkg/controller/volume/expand/expand_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Plan, Record
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested

CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"
WAITING = "waiting for an external controller to expand this PVC"


def grows(claim: Object) -> bool:
    asked = nested(claim, "spec", "resources", "requests", "storage")
    has = nested(claim, "status", "capacity", "storage")
    bound = nested(claim, "status", "phase") == "Bound"
    return bool(bound and asked and has) and Quantity.parse(asked) > Quantity.parse(has)


def observe(desired: Object, cache: Cache) -> Object | None:
    """The volume, if it is this claim's."""
    volume = cache.get(VOLUMES, Key("", desired["spec"].get("volumeName") or ""))
    same = nested(volume, "spec", "claimRef", "uid") == desired["metadata"]["uid"]
    return volume if same else None


def reconcile(desired: Object, volume: Object | None) -> Plan:
    if is_deleting(desired) or volume is None or not grows(desired):
        return Plan()
    return Plan((Record("Normal", "ExternalExpanding", WAITING),))


def _growing(claim: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(claim),) if grows(claim) else ()


PERSISTENTVOLUME_EXPANDER = ControllerType(
    name="expand-controller",
    component="volume_expand",
    watches=(Watch(CLAIMS, wakes=_growing), Watch(VOLUMES, wakes=nobody)),
    observe=observe,
    reconcile=reconcile,
)

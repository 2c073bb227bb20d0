"""A volume that is being deleted stays while it is bound to a claim.

Watches   persistentvolumes
Writes    persistentvolumes (the protection finalizer)
Upstream  pkg/controller/volume/pvprotection/pv_protection_controller.go
"""

from __future__ import annotations

from timonel.control.actions import Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Object, is_deleting, nested

RESOURCE = "persistentvolumes"
FINALIZER = "kubernetes.io/pv-protection"


def observe(desired: Object, cache: Cache) -> None:
    """The volume says all there is to know."""


def reconcile(desired: Object, observed: None) -> Plan:
    finalizers: list[str] = desired["metadata"].get("finalizers") or []
    if is_deleting(desired):
        if nested(desired, "status", "phase") == "Bound" or FINALIZER not in finalizers:
            return Plan()
        changed = [f for f in finalizers if f != FINALIZER]
    elif FINALIZER not in finalizers:
        changed = [*finalizers, FINALIZER]
    else:
        return Plan()
    return Plan((Update(RESOURCE, {**desired, "metadata": {**desired["metadata"], "finalizers": changed}}),))


PV_PROTECTION = ControllerType(
    name="pv-protection-controller",
    watches=(Watch(RESOURCE),),
    observe=observe,
    reconcile=reconcile,
)

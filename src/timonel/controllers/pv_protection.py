"""A volume that is being deleted stays while it is bound to a claim.

Watches   persistentvolumes
Writes    persistentvolumes (the protection finalizer)
Upstream  pkg/controller/volume/pvprotection/pv_protection_controller.go
"""

from __future__ import annotations

from timonel.control.actions import Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Object, is_deleting, key_of, nested, uid_of

RESOURCE = "persistentvolumes"
FINALIZER = "kubernetes.io/pv-protection"


def observe(desired: Object, cache: Cache) -> None:
    """The volume says all there is to know."""


def reconcile(desired: Object, observed: None) -> Plan:
    finalizers = desired["metadata"].get("finalizers") or []
    if is_deleting(desired):
        if FINALIZER not in finalizers or nested(desired, "status", "phase") == "Bound":
            return Plan()
        change = {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}
    elif FINALIZER not in finalizers:
        change = {"finalizers": [FINALIZER]}
    else:
        return Plan()
    patch = {"metadata": change}
    return Plan(
        (Patch(RESOURCE, key_of(desired), patch, kind="strategic", uid=uid_of(desired), missing_ok=True),)
    )


PV_PROTECTION = ControllerType(
    name="pv-protection-controller",
    watches=(Watch(RESOURCE),),
    observe=observe,
    reconcile=reconcile,
)

"""A volume that is being deleted stays while it is bound to a claim.

Watches   persistentvolumes
Writes    persistentvolumes (the protection finalizer)
Upstream  pkg/controller/volume/pvprotection/pv_protection_controller.go
"""

from __future__ import annotations

from timonel.control.actions import Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Object, nested, protected

RESOURCE = "persistentvolumes"
FINALIZER = "kubernetes.io/pv-protection"


def observe(desired: Object, cache: Cache) -> None:
    """The volume says all there is to know."""


def reconcile(desired: Object, observed: None) -> Plan:
    changed = protected(desired, FINALIZER, in_use=nested(desired, "status", "phase") == "Bound")
    return Plan() if changed is None else Plan((Update(RESOURCE, changed),))


PV_PROTECTION = ControllerType(
    name="pv-protection-controller",
    watches=(Watch(RESOURCE),),
    observe=observe,
    reconcile=reconcile,
)

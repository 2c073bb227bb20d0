"""A claim that is being deleted stays while a pod on a node uses it.

Watches   persistentvolumeclaims; pods (wake the claims they use)
Writes    persistentvolumeclaims (the protection finalizer)
Upstream  pkg/controller/volume/pvcprotection/pvc_protection_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Plan, Update
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects import pods
from timonel.objects.meta import Key, Object, is_deleting, nested, protected

RESOURCE = "persistentvolumeclaims"
FINALIZER = "kubernetes.io/pvc-protection"


def claims_of(pod: Object) -> list[str]:
    """Names of the claims a pod uses; an ephemeral volume has one named after pod and volume."""
    names: list[str] = []
    for volume in nested(pod, "spec", "volumes") or ():
        if volume.get("persistentVolumeClaim"):
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            names.append(f"{pod['metadata']['name']}-{volume['name']}")
    return names


def observe(desired: Object, cache: Cache) -> bool:
    """Whether a pod that a node knows of uses the claim. Asked only when it matters."""
    if not is_deleting(desired):
        return True
    name, namespace = desired["metadata"]["name"], desired["metadata"]["namespace"]
    return any(pods.node_of(p) for p in cache.by("pods", _by_claim, Key(namespace, name)))


def reconcile(desired: Object, in_use: bool) -> Plan:
    changed = protected(desired, FINALIZER, in_use=in_use)
    return Plan() if changed is None else Plan((Update(RESOURCE, changed),))


def _by_claim(pod: Object) -> Iterable[Key]:
    return [Key(pod["metadata"]["namespace"], name) for name in claims_of(pod)]


def _its_claims(pod: Object, cache: Cache) -> Iterable[Key]:
    return _by_claim(pod)


PVC_PROTECTION = ControllerType(
    name="pvc-protection-controller",
    watches=(Watch(RESOURCE), Watch("pods", wakes=_its_claims)),
    observe=observe,
    reconcile=reconcile,
)

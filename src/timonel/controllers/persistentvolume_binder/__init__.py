"""Claims get volumes, volumes show whose they are. Two declarations, one for each side.

    claim: Pending ── bind ──> Bound ── volume gone ──> Lost
    volume: Available ── claimed ──> Bound ── claim gone ──> Released

Provisioning is a handshake: the claim is annotated with the provisioner's name, and that one makes a volume that
already names the claim. With WaitForFirstConsumer the claim waits until the scheduler has annotated a node.

Watches   persistentvolumeclaims, persistentvolumes (each wakes the other), storageclasses.storage.k8s.io
Writes    both and their /status
Upstream  pkg/controller/volume/persistentvolume/pv_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.declare import Cache, ControllerType, Watch
from timonel.controllers.persistentvolume_binder import claims, matching, volumes
from timonel.objects.meta import Key, Object, annotations_of, key_of, nested


def _claims_of_volume(volume: Object, cache: Cache) -> Iterable[Key]:
    """The claim it names; a free one concerns every claim of its class that waits."""
    ref = nested(volume, "spec", "claimRef")
    if ref:
        return (Key(ref.get("namespace", ""), ref.get("name", "")),)
    name = volume["metadata"]["name"]
    return [
        key_of(claim)
        for claim in cache.list(claims.CLAIMS)
        if claim["spec"].get("volumeName") == name
        or (_is_waiting(claim) and matching.class_of(claim) == matching.class_of(volume))
    ]


def _is_waiting(claim: Object) -> bool:
    return claims.BIND_COMPLETED not in annotations_of(claim)


def _claims_of_class(storage_class: Object, cache: Cache) -> Iterable[Key]:
    """Claims that wait for the class, and those that would get it by default."""
    name = storage_class["metadata"]["name"]
    waiting = (c for c in cache.list(claims.CLAIMS) if _is_waiting(c))
    return [key_of(c) for c in waiting if matching.class_of(c) in ("", name)]


def _volumes_of_claim(claim: Object, cache: Cache) -> Iterable[Key]:
    name = claim["spec"].get("volumeName")
    found = [Key("", name)] if name else []
    for volume in cache.list(claims.VOLUMES):
        if nested(volume, "spec", "claimRef", "uid") == claim["metadata"]["uid"]:
            found.append(key_of(volume))
    return found


CLAIMS = ControllerType(
    name="persistent-volume-binder",
    component="persistentvolume-controller",
    watches=(
        Watch(claims.CLAIMS),
        Watch(claims.VOLUMES, wakes=_claims_of_volume),
        Watch(claims.CLASSES, wakes=_claims_of_class),
    ),
    observe=claims.observe,
    reconcile=claims.reconcile,
    status=claims.status,
)

VOLUMES = ControllerType(
    name="persistent-volume-binder",
    component="persistentvolume-controller",
    watches=(Watch(claims.VOLUMES), Watch(claims.CLAIMS, wakes=_volumes_of_claim)),
    observe=volumes.observe,
    reconcile=volumes.reconcile,
    status=volumes.status,
)

PERSISTENTVOLUME_BINDER = (CLAIMS, VOLUMES)

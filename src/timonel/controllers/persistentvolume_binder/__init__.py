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
    found = (
        *cache.by(claims.CLAIMS, _by_volume, name),
        *cache.by(claims.CLAIMS, _waiting_by_class, matching.class_of(volume)),
    )
    return {key_of(claim) for claim in found}


def _by_volume(claim: Object) -> Iterable[str]:
    name = claim["spec"].get("volumeName")
    return (name,) if name else ()


def _waiting_by_class(claim: Object) -> Iterable[str]:
    return () if claims.BIND_COMPLETED in annotations_of(claim) else (matching.class_of(claim),)


def _claims_of_class(storage_class: Object, cache: Cache) -> Iterable[Key]:
    """Claims that wait for the class, and those that would get it by default."""
    name = storage_class["metadata"]["name"]
    return [key_of(c) for each in ("", name) for c in cache.by(claims.CLAIMS, _waiting_by_class, each)]


def _volumes_of_claim(claim: Object, cache: Cache) -> Iterable[Key]:
    name = claim["spec"].get("volumeName")
    found = [Key("", name)] if name else []
    theirs = cache.by(claims.VOLUMES, matching.by_claim_uid, claim["metadata"]["uid"])
    return [*found, *map(key_of, theirs)]


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

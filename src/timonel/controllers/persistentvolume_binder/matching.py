"""Which volume suits a claim: class, mode, access, size, labels; the smallest that does.

Upstream: pkg/controller/volume/persistentvolume/index.go, component-helpers/storage/volume/pv_helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.machinery import selectors
from timonel.machinery.quantity import Quantity
from timonel.objects.meta import Key, Object, annotations_of, is_deleting, labels_of, nested

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


def class_of(obj: Object) -> str:
    """The class of a claim or a volume; empty: none."""
    return annotations_of(obj).get(BETA_CLASS) or str(obj["spec"].get("storageClassName") or "")


def by_claim(volume: Object) -> Iterable[Key]:
    """The claim that a volume names."""
    ref = volume["spec"].get("claimRef")
    return (Key(ref.get("namespace", ""), ref.get("name", "")),) if ref else ()


def by_claim_uid(volume: Object) -> Iterable[str]:
    uid = (volume["spec"].get("claimRef") or {}).get("uid")
    return (uid,) if uid else ()


def by_free_class(volume: Object) -> Iterable[str]:
    """The class of a volume that names no claim."""
    return () if volume["spec"].get("claimRef") else (class_of(volume),)


def size_of(volume: Object) -> Quantity:
    return Quantity.parse(nested(volume, "spec", "capacity", "storage") or "0")


def requested(claim: Object) -> Quantity:
    return Quantity.parse(nested(claim, "spec", "resources", "requests", "storage") or "0")


def is_reserved_for(volume: Object, claim: Object) -> bool:
    """The volume names this claim, with its uid or, as people write it, without."""
    ref = volume["spec"].get("claimRef") or {}
    meta = claim["metadata"]
    same = (ref.get("namespace"), ref.get("name")) == (meta["namespace"], meta["name"])
    return same and ref.get("uid") in (None, "", meta["uid"])


def problem(volume: Object, claim: Object) -> str:
    """Why a volume and a claim that ask for each other cannot be bound; empty when they can."""
    if requested(claim) > size_of(volume):
        return "requested PV is too small"
    if class_of(claim) != class_of(volume):
        return "storageClassName does not match"
    if _mode(claim) != _mode(volume):
        return "incompatible volumeMode"
    if not _has_access(volume, claim):
        return "incompatible accessMode"
    return ""


def _mode(obj: Object) -> str:
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def _has_access(volume: Object, claim: Object) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def best(claim: Object, volumes: Iterable[Object], *, delayed: bool) -> Object | None:
    """`delayed`: the scheduler chooses, so only what is reserved for the claim may be taken."""
    fitting: list[Object] = []
    selector = claim["spec"].get("selector")
    matches = selectors.from_label_selector(selector).matches if selector else None
    for volume in volumes:
        if is_deleting(volume) and not volume["spec"].get("claimRef"):
            continue
        if is_reserved_for(volume, claim):
            if not problem(volume, claim):
                return volume
            continue
        if delayed or volume["spec"].get("claimRef") or nested(volume, "status", "phase") != "Available":
            continue
        if problem(volume, claim) or (matches is not None and not matches(labels_of(volume))):
            continue
        fitting.append(volume)
    return min(fitting, key=lambda v: (size_of(v), v["metadata"]["name"]), default=None)

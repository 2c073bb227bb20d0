"""core/v1: PersistentVolume.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go,types.go},
pkg/registry/core/persistentvolume/strategy.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, godiff
from timonel.apis.core import persistentsources
from timonel.apis.core.gostructs import VOLUME_SOURCE
from timonel.apis.nodeselector import selector_warnings, validate_node_selector
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, annotations_of, is_deleting

CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
MOUNT_OPTIONS = "volume.beta.kubernetes.io/mount-options"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_MODE_LETTERS = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def default_volume(obj: Object) -> None:
    spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"
    spec["persistentVolumeReclaimPolicy"] = spec.get("persistentVolumeReclaimPolicy") or "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    persistentsources.default_source(spec)


def prepare_create(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}
    created = obj["metadata"].get("creationTimestamp")
    if created:
        obj["status"]["lastPhaseTransitionTime"] = created


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


# kinds of storage that take mount options by annotation
_MOUNTABLE = ("gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "nfs", "rbd", "quobyte", "iscsi", "cinder",
              "cephfs", "azureFile", "vsphereVolume", "azureDisk", "storageos")  # fmt: skip


def validate(obj: Object) -> Iterator[Cause]:
    yield from validate_spec("spec", obj["spec"])
    yield from _validate_mount_options(obj)


def _validate_mount_options(obj: Object) -> Iterator[Cause]:
    if MOUNT_OPTIONS in annotations_of(obj) and not any(obj["spec"].get(key) for key in _MOUNTABLE):
        message = "may not specify mount options for this volume type"
        yield field.forbidden(f"metadata.annotations.{MOUNT_OPTIONS}", message)


def validate_spec(at: str, spec: Object, inline: bool = False) -> Iterator[Cause]:
    """`inline`: the spec of a volume that a VolumeAttachment carries itself, which must be of CSI."""
    if inline:
        yield from _validate_inline(at, spec)
    modes: list[str] = spec.get("accessModes") or []
    if not modes:
        yield field.required(f"{at}.accessModes")
    yield from validate_modes(f"{at}.accessModes", modes)
    if not inline:
        yield from _validate_capacity(f"{at}.capacity", spec.get("capacity"))
    if spec.get("persistentVolumeReclaimPolicy") and not inline:
        yield from checks.one_of(
            f"{at}.persistentVolumeReclaimPolicy", spec["persistentVolumeReclaimPolicy"], RECLAIM_POLICIES
        )
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is None:
            yield field.required(f"{at}.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from validate_node_selector(f"{at}.nodeAffinity.required", affinity["required"])
    yield from _validate_source(at, spec)
    if (
        spec.get("persistentVolumeReclaimPolicy") == "Recycle"
        and (spec.get("hostPath") or {}).get("path") == "/"
    ):
        message = "may not be 'recycle' for a hostPath mount of '/'"
        yield field.forbidden(f"{at}.persistentVolumeReclaimPolicy", message)
    if spec.get("storageClassName") and not inline:
        yield from checks.subdomain(f"{at}.storageClassName", spec["storageClassName"])
    if spec.get("volumeMode") is not None and not inline:
        yield from checks.one_of(f"{at}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        path = f"{at}.volumeAttributesClassName"
        if not attributes:
            yield field.required(path, "an empty string is disallowed")
        else:
            yield from checks.subdomain(path, attributes)
        if spec.get("csi") is None:
            yield field.required(f"{at}.csi", "has to be specified when using volumeAttributesClassName")


def _validate_inline(at: str, spec: Object) -> Iterator[Cause]:
    for key in ("claimRef", "capacity", "storageClassName"):
        if spec.get(key):
            yield field.forbidden(f"{at}.{key}", "may not be specified in the context of inline volumes")
    if spec.get("csi") is None:
        yield field.required(f"{at}.csi", "has to be specified in the context of inline volumes")


def validate_modes(path: str, modes: list[str]) -> Iterator[Cause]:
    for mode in modes:
        yield from checks.one_of(path, mode, ACCESS_MODES)
    known = [mode for mode in modes if mode in ACCESS_MODES]
    if "ReadWriteOncePod" in known and len(set(known)) > 1:
        yield field.forbidden(path, "may not use ReadWriteOncePod with other access modes")


def _validate_capacity(path: str, capacity: Object | None) -> Iterator[Cause]:
    if not capacity:
        yield field.required(path)
    if not capacity or "storage" not in capacity or len(capacity) > 1:
        shown = (
            None if capacity is None else {k: str(checks.quantity(v)) for k, v in sorted(capacity.items())}
        )
        yield field.not_supported(path, shown, ("storage",))
    for name, amount in sorted((capacity or {}).items()):
        if checks.quantity(amount) < checks.quantity(0):
            # upstream calls a negative number malformed, and prints it bare
            message = f"Invalid value: {checks.quantity(amount)}: must be a valid resource quantity"
            yield Cause("FieldValueInvalid", message, f"{path}[{name}]")
        yield from checks.quantity_positive(f"{path}[{name}]", amount)


def _validate_source(at: str, spec: Object) -> Iterator[Cause]:
    found = [wire for wire in persistentsources.SOURCES if spec.get(wire) is not None]
    if not found:
        yield field.required(at, "must specify a volume type")
    for number, wire in enumerate(found):
        name, rule = persistentsources.SOURCES[wire]
        if number:
            yield field.forbidden(f"{at}.{name}", "may not specify more than 1 volume type")
        yield from rule(f"{at}.{name}", spec[wire])
        if wire == "local" and spec.get("nodeAffinity") is None:
            yield field.required(f"{at}.nodeAffinity", "Local volume requires node affinity")


def _source_of(spec: Object) -> Object:
    return {wire: spec[wire] for wire in persistentsources.SOURCES if spec.get(wire) is not None}


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)
    yield from validate_spec(
        "spec", new["spec"]
    )  # upstream runs the rules once more, and says everything twice
    if _source_of(new["spec"]) != _source_of(old["spec"]):
        text = godiff.diff(_source_of(old["spec"]), _source_of(new["spec"]), VOLUME_SOURCE)
        message = f"spec.persistentvolumesource is immutable after creation\n{text}"
        yield field.forbidden("spec.persistentvolumesource", message)
    yield from checks.immutable("volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode"))
    if old["spec"].get("nodeAffinity") is not None:
        before, now = old["spec"]["nodeAffinity"], new["spec"].get("nodeAffinity")
        if before != now:
            message = f"{checks.IMMUTABLE}, except for updating from beta label to GA"
            yield field.invalid("spec.nodeAffinity", now, message)


def warnings(obj: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    for key in (CLASS_ANNOTATION, MOUNT_OPTIONS):
        if key in annotations_of(obj):
            attribute = "storageClassName" if key == CLASS_ANNOTATION else "mountOptions"
            since = "v1.8" if key == CLASS_ANNOTATION else "v1.31"
            yield f'metadata.annotations[{key}]: deprecated since {since}; use "{attribute}" attribute instead'
    required = (spec.get("nodeAffinity") or {}).get("required")
    if required is not None:
        yield from selector_warnings("spec.nodeAffinity.required", required)
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield (
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning."
        )
    for wire, message in persistentsources.DEPRECATED.items():
        if spec.get(wire) is not None:
            yield message


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from warnings(new)


def modes_cell(modes: list[str] | None) -> str:
    """RWO,ROX,…: each mode once, in a fixed order."""
    return ",".join(letters for mode, letters in _MODE_LETTERS.items() if mode in (modes or ()))


def class_of(obj: Object) -> str:
    """The storage class; the annotation of old wins over the field."""
    annotation = annotations_of(obj).get(CLASS_ANNOTATION)
    return str(
        annotation if annotation is not None else (obj.get("spec") or {}).get("storageClassName") or ""
    )


def attributes_class_cell(obj: Object, now: float) -> str:
    name = (obj.get("spec") or {}).get("volumeAttributesClassName")
    return "<unset>" if name is None else str(name)


def volume_mode_cell(obj: Object, now: float) -> str:
    return str((obj.get("spec") or {}).get("volumeMode") or "<unset>")


def _claim(obj: Object, now: float) -> str:
    ref = (obj.get("spec") or {}).get("claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref is not None else ""


PERSISTENT_VOLUME = ResourceType(
    group="",
    version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    namespaced=False,
    short_names=("pv",),
    status=True,
    default=default_volume,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(
        Column(
            "Capacity",
            lambda o, now: (o["spec"].get("capacity") or {}).get("storage", "0"),
            doc="spec.capacity",
        ),
        Column(
            "Access Modes", lambda o, now: modes_cell(o["spec"].get("accessModes")), doc="spec.accessModes"
        ),
        Column(
            "Reclaim Policy",
            lambda o, now: o["spec"].get("persistentVolumeReclaimPolicy", ""),
            doc="spec.persistentVolumeReclaimPolicy",
        ),
        Column(
            "Status",
            lambda o, now: "Terminating" if is_deleting(o) else (o.get("status") or {}).get("phase", ""),
            doc="status.phase",
        ),
        Column("Claim", _claim, doc="spec.claimRef"),
        Column("StorageClass", lambda o, now: class_of(o), description="StorageClass of the pv"),
        Column("VolumeAttributesClass", attributes_class_cell, description="VolumeAttributesClass of the pv"),
        Column("Reason", lambda o, now: (o.get("status") or {}).get("reason", ""), doc="status.reason"),
        AGE,
        Column("VolumeMode", volume_mode_cell, priority=1, doc="spec.volumeMode"),
    ),
)

RESOURCES = (PERSISTENT_VOLUME,)

"""core/v1: PersistentVolumeClaim, and what a claim template (of a StatefulSet, an ephemeral volume) shares with it.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/api/persistentvolumeclaim/util.go,
pkg/registry/core/persistentvolumeclaim/strategy.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from timonel.apis import checks, godiff
from timonel.apis.core.gostructs import CLAIM_SPEC
from timonel.apis.core.persistentvolume import (
    CLASS_ANNOTATION,
    VOLUME_MODES,
    attributes_class_cell,
    class_of,
    modes_cell,
    validate_modes,
    volume_mode_cell,
)
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, annotations_of, is_deleting

FROZEN = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def default_claim(obj: Object) -> None:
    default_claim_spec(obj.setdefault("spec", {}))
    status = obj.setdefault("status", {})
    status["phase"] = status.get("phase") or "Pending"


def default_claim_spec(spec: Object) -> None:
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"


def prepare_create(obj: Object) -> None:
    obj["status"] = {"phase": "Pending"}
    normalize_sources(obj["spec"])


def prepare_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})
    normalize_sources(new["spec"])


def normalize_sources(spec: Object) -> None:
    """`dataSource` and `dataSourceRef` say the same, each filled from the other; a source of no use is dropped."""
    ref = spec.get("dataSourceRef")
    if ref is not None and ref.get("namespace"):
        spec.pop("dataSourceRef")  # only with CrossNamespaceVolumeDataSource
        ref = None
    source = spec.get("dataSource")
    if source is not None and ref is None and not _is_claim_or_snapshot(source):
        spec.pop("dataSource")
        source = None
    if source is not None and ref is None:
        spec["dataSourceRef"] = dict(source)
    elif ref is not None and source is None:
        spec["dataSource"] = {key: value for key, value in ref.items() if key != "namespace"}


def _is_claim_or_snapshot(source: Object) -> bool:
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    return (group, kind) in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def validate(obj: Object) -> Iterator[Cause]:
    yield from validate_claim_spec("spec", obj["spec"])


def validate_claim_spec(path: str, spec: Object) -> Iterator[Cause]:
    modes: list[str] = spec.get("accessModes") or []
    if not modes:
        yield field.required(f"{path}.accessModes", "at least 1 access mode is required")
    if spec.get("selector") is not None:
        yield from selectors.validate_label_selector(spec["selector"], f"{path}.selector")
    yield from validate_modes(f"{path}.accessModes", modes)
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        yield field.required(f"{path}.resources[storage]")
    else:
        yield from checks.quantity_positive(f"{path}.resources[storage]", requests["storage"])
    if spec.get("storageClassName"):
        yield from checks.subdomain(f"{path}.storageClassName", spec["storageClassName"])
    if spec.get("volumeMode") is not None:
        yield from checks.one_of(f"{path}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    for key, found in (("dataSource", source), ("dataSourceRef", ref)):
        if found is not None:
            yield from _validate_source(f"{path}.{key}", found)
    if source is not None and ref is not None:
        if ref.get("namespace"):
            yield field.invalid(path, {}, "may not be specified when dataSourceRef.namespace is specified")
        elif _identity(source) != _identity(ref):
            yield field.invalid(path, {}, "must match dataSourceRef")
    if spec.get("volumeAttributesClassName"):
        yield from checks.subdomain(f"{path}.volumeAttributesClassName", spec["volumeAttributesClassName"])


def _identity(source: Object) -> tuple[object, object, object]:
    return source.get("apiGroup"), source.get("kind", ""), source.get("name", "")


def _validate_source(path: str, source: Object) -> Iterator[Cause]:
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    yield from checks.required(f"{path}.name", source.get("name"))
    yield from checks.required(f"{path}.kind", kind)
    if not group and kind != "PersistentVolumeClaim":
        yield field.invalid(
            path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        )
    if group:
        yield from checks.subdomain(f"{path}.apiGroup", group)


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)
    yield from validate(new)  # upstream runs the rules once more, and says everything twice
    now, before = copy.deepcopy(new["spec"]), copy.deepcopy(old["spec"])
    bound = (new.get("status") or {}).get("phase") == "Bound"
    if not before.get("volumeName"):
        before["volumeName"] = now.get("volumeName", "")
    if annotations_of(old).get(CLASS_ANNOTATION) is None and before.get("storageClassName") is None:
        before["storageClassName"] = now.get("storageClassName")  # filled in by the default class
    if bound:
        _forget_what_may_change(now, before)
    if _set_fields(now) != _set_fields(before):
        yield field.forbidden("spec", f"{FROZEN}\n{godiff.diff(before, now, CLAIM_SPEC)}")
    yield from _validate_shrink(new, old)
    yield from checks.immutable(
        "spec.volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode")
    )


def _set_fields(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if value not in (None, "")}


def _forget_what_may_change(now: Object, before: Object) -> None:
    requests = (now.get("resources") or {}).get("requests")
    size = ((before.get("resources") or {}).get("requests") or {}).get("storage")
    if requests is not None and size is not None:
        requests["storage"] = size
    if now.get("volumeAttributesClassName"):
        now["volumeAttributesClassName"] = before.get("volumeAttributesClassName")


def _size(spec: Object) -> str:
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _validate_shrink(new: Object, old: Object) -> Iterator[Cause]:
    size, before = checks.quantity(_size(new["spec"])), checks.quantity(_size(old["spec"]))
    capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage")
    if (new.get("status") or {}).get("phase") != "Bound" or not size < before or capacity is None:
        return
    if size < checks.quantity(capacity):
        yield field.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def validate_status(new: Object, old: Object) -> Iterator[Cause]:
    status = new.get("status") or {}
    if not new["metadata"].get("resourceVersion"):
        yield field.required("metadata.resourceVersion")
    for name, amount in sorted((status.get("capacity") or {}).items()):
        yield from checks.resource_quantity(f"status.capacity.{name}", name, amount)


def warnings(obj: Object) -> Iterator[str]:
    if CLASS_ANNOTATION in annotations_of(obj):
        yield (
            f"metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; "
            'use "storageClassName" attribute instead'
        )
    amount = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    if amount is not None and checks.quantity(amount).milli() % 1000:
        yield f'spec.resources.requests[storage]: fractional byte value "{amount}" is invalid, must be an integer'


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from warnings(new)


def _phase(obj: Object, now: float) -> str:
    return "Terminating" if is_deleting(obj) else str((obj.get("status") or {}).get("phase", ""))


def _bound(obj: Object) -> Object:
    """The status of a claim that has a volume; before that, the columns stay empty."""
    return (obj.get("status") or {}) if obj["spec"].get("volumeName") else {}


PERSISTENT_VOLUME_CLAIM = ResourceType(
    group="",
    version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    short_names=("pvc",),
    status=True,
    default=default_claim,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(
        Column("Status", _phase, doc="status.phase"),
        Column("Volume", lambda o, now: o["spec"].get("volumeName", ""), doc="spec.volumeName"),
        Column(
            "Capacity",
            lambda o, now: (_bound(o).get("capacity") or {}).get("storage", "0" if _bound(o) else ""),
            doc="status.capacity",
        ),
        Column(
            "Access Modes", lambda o, now: modes_cell(_bound(o).get("accessModes")), doc="status.accessModes"
        ),
        Column("StorageClass", lambda o, now: class_of(o), description="StorageClass of the pvc"),
        Column(
            "VolumeAttributesClass", attributes_class_cell, description="VolumeAttributesClass of the pvc"
        ),
        AGE,
        Column("VolumeMode", volume_mode_cell, priority=1, doc="spec.volumeMode"),
    ),
)

RESOURCES = (PERSISTENT_VOLUME_CLAIM,)

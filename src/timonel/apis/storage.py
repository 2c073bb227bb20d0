"""storage.k8s.io/v1: StorageClass, CSIDriver, CSINode, CSIStorageCapacity, VolumeAttachment, VolumeAttributesClass.

Upstream: pkg/apis/storage/{v1/defaults.go,validation/validation.go}, pkg/registry/storage/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.core.persistentsources import validate_driver_name
from timonel.apis.core.persistentvolume import validate_spec
from timonel.apis.nodeselector import label_warnings
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, annotations_of

GROUP = "storage.k8s.io"
DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
MAX_PARAMETERS, MAX_PARAMETER_BYTES = 512, 256 * 1024


def _validate_provisioner(path: str, name: str) -> Iterator[Cause]:
    if not name:
        yield field.required(path)
    else:
        yield from checks.qualified_name(path, name.lower())


def _validate_parameters(path: str, parameters: Object | None, must_have: bool) -> Iterator[Cause]:
    found = parameters or {}
    if len(found) > MAX_PARAMETERS:
        yield field.too_long(path, MAX_PARAMETERS)
        return
    for key in sorted(found):
        if not key:
            yield field.invalid(path, key, "field can not be empty.")
    if sum(len(k.encode()) + len(v.encode()) for k, v in found.items()) > MAX_PARAMETER_BYTES:
        yield field.too_long(path, MAX_PARAMETER_BYTES)
    if must_have and not found:
        yield field.required(path, "must contain at least one key/value pair")


# ---------------------------------------------------------------- StorageClass


def default_storage_class(obj: Object) -> None:
    if obj.get("reclaimPolicy") is None:
        obj["reclaimPolicy"] = "Delete"
    if obj.get("volumeBindingMode") is None:
        obj["volumeBindingMode"] = "Immediate"


def validate_storage_class(obj: Object) -> Iterator[Cause]:
    yield from _validate_provisioner("provisioner", obj.get("provisioner", ""))
    yield from _validate_parameters("parameters", obj.get("parameters"), must_have=False)
    if obj.get("reclaimPolicy"):
        yield from checks.one_of("reclaimPolicy", obj["reclaimPolicy"], ("Delete", "Retain"))
    modes = ("Immediate", "WaitForFirstConsumer")
    yield from checks.one_of("volumeBindingMode", obj.get("volumeBindingMode", ""), modes)
    yield from _validate_topologies(obj.get("allowedTopologies") or [])


def _validate_topologies(terms: list[Object]) -> Iterator[Cause]:
    seen: list[object] = []
    for index, term in enumerate(terms):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        expressions: list[Object] = term.get("matchLabelExpressions") or []
        keys: set[str] = set()
        for number, expression in enumerate(expressions):
            at, key = f"{path}[{number}]", expression.get("key", "")
            values: list[str] = expression.get("values") or []
            if not values:
                yield field.required(f"{at}.values")
            for place, value in enumerate(values):
                if value in values[:place]:
                    yield field.duplicate(f"{at}.values[{place}]", value)
            yield from checks.qualified_name(f"{at}.key", key)
            if key in keys:
                yield field.duplicate(f"{at}.key", key)
            keys.add(key)
        known = {e.get("key", ""): frozenset(e.get("values") or ()) for e in expressions}
        if known in seen or not known:  # upstream's list of seen terms starts with empty ones
            yield field.duplicate(path, "")
        seen.append(known)


def validate_storage_class_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_storage_class(new)
    for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
        yield from checks.immutable(key, new.get(key), old.get(key))


def storage_class_warnings(obj: Object) -> Iterator[str]:
    for index, term in enumerate(obj.get("allowedTopologies") or ()):
        for number, expression in enumerate(term.get("matchLabelExpressions") or ()):
            path = f"allowedTopologies[{index}].matchLabelExpressions[{number}].key"
            yield from label_warnings(path, expression.get("key", ""))


def storage_class_warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from storage_class_warnings(new)


def _is_default(obj: Object) -> bool:
    return any(annotations_of(obj).get(key) == "true" for key in DEFAULT_CLASS)


def _class_name(obj: Object, now: float) -> str:
    return str(obj["metadata"].get("name", "")) + (" (default)" if _is_default(obj) else "")


STORAGE_CLASS = ResourceType(
    group=GROUP,
    version="v1",
    kind="StorageClass",
    plural="storageclasses",
    namespaced=False,
    short_names=("sc",),
    default=default_storage_class,
    validate=validate_storage_class,
    validate_update=validate_storage_class_update,
    warnings=storage_class_warnings,
    warnings_update=storage_class_warnings_update,
    columns=(
        Column("Name", _class_name, format="name", doc="metadata.name"),
        Column("Provisioner", lambda o, now: o.get("provisioner", ""), doc="provisioner"),
        Column("ReclaimPolicy", lambda o, now: o.get("reclaimPolicy", "Delete"), doc="reclaimPolicy"),
        Column(
            "VolumeBindingMode",
            lambda o, now: o.get("volumeBindingMode", "Immediate"),
            doc="volumeBindingMode",
        ),
        Column(
            "AllowVolumeExpansion",
            lambda o, now: bool(o.get("allowVolumeExpansion")),
            doc="allowVolumeExpansion",
        ),
        AGE,
    ),
)

# ---------------------------------------------------------------- CSIDriver

_DRIVER_DEFAULTS = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}


def default_csi_driver(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    for key, value in _DRIVER_DEFAULTS.items():
        if spec.get(key) is None:
            spec[key] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def validate_csi_driver(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    yield from checks.one_of("spec.fsGroupPolicy", spec.get("fsGroupPolicy"), policies)
    yield from _validate_token_requests(spec.get("tokenRequests") or [])
    for mode in spec.get("volumeLifecycleModes") or ():
        yield from checks.one_of("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        path = "spec.nodeAllocatableUpdatePeriodSeconds"
        yield field.invalid(path, period, "must be greater than or equal to 10 seconds")
    if spec.get("serviceAccountTokenInSecrets") and not spec.get("tokenRequests"):
        message = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        yield field.invalid("spec.serviceAccountTokenInSecrets", True, message)


def _validate_token_requests(requests: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, request in enumerate(requests):
        path = f"spec.tokenRequests[{index}]"
        audience, seconds = request.get("audience", ""), request.get("expirationSeconds")
        if audience in seen:
            yield field.duplicate(f"{path}.audience", audience)
            continue
        seen.add(audience)
        if seconds is not None:
            yield from checks.token_lifetime(f"{path}.expirationSeconds", seconds)


def csi_driver_warnings(obj: Object) -> Iterator[str]:
    spec = obj["spec"]
    if spec.get("tokenRequests") and spec.get("serviceAccountTokenInSecrets") is None:
        yield (
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent "
            "possible logging of tokens in volume attributes"
        )


def csi_driver_warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from csi_driver_warnings(new)


def validate_csi_driver_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_csi_driver(new)
    now, before = new["spec"], old["spec"]
    yield from checks.immutable(
        "spec.attachedRequired", now.get("attachRequired"), before.get("attachRequired")
    )
    key = "volumeLifecycleModes"
    yield from checks.immutable(f"spec.{key}", now.get(key), before.get(key))


def _audiences(obj: Object, now: float) -> str:
    return ",".join(r.get("audience", "") for r in obj["spec"].get("tokenRequests") or ()) or "<unset>"


def _modes(obj: Object, now: float) -> str:
    return ",".join(sorted(obj["spec"].get("volumeLifecycleModes") or ()))


def _flag(name: str, key: str) -> Column:
    missing = bool(_DRIVER_DEFAULTS[key])
    return Column(name, lambda o, now: o["spec"].get(key, missing), "boolean", doc=f"spec.{key}")


CSI_DRIVER = ResourceType(
    group=GROUP,
    version="v1",
    kind="CSIDriver",
    plural="csidrivers",
    namespaced=False,
    unconditional_update=False,
    default=default_csi_driver,
    validate=validate_csi_driver,
    validate_update=validate_csi_driver_update,
    warnings=csi_driver_warnings,
    warnings_update=csi_driver_warnings_update,
    columns=(
        _flag("AttachRequired", "attachRequired"),
        _flag("PodInfoOnMount", "podInfoOnMount"),
        _flag("StorageCapacity", "storageCapacity"),
        Column("TokenRequests", _audiences, doc="spec.tokenRequests"),
        _flag("RequiresRepublish", "requiresRepublish"),
        Column("Modes", _modes, doc="spec.volumeLifecycleModes"),
        AGE,
    ),
)

# ---------------------------------------------------------------- CSINode


def validate_csi_node(obj: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        path, name, node = f"spec.drivers[{index}]", driver.get("name", ""), driver.get("nodeID", "")
        yield from validate_driver_name(f"{path}.name", name)
        if not node:
            yield field.required(f"{path}.nodeID")
        if len(node) > 256:
            yield field.invalid(f"{path}.nodeID", node, "must be 256 characters or less")
        yield from checks.not_negative(
            f"{path}.allocatable.count", (driver.get("allocatable") or {}).get("count")
        )
        if name in seen:
            yield field.duplicate(f"{path}.name", name)
        seen.add(name)
        keys: list[str] = driver.get("topologyKeys") or []
        for number, key in enumerate(keys):
            if not key:
                yield field.required(path)
            if key in keys[:number]:
                yield field.duplicate(path, key)
            yield from checks.qualified_name(path, key)


def validate_csi_node_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_csi_node(new)
    now = {d.get("name"): d for d in (new.get("spec") or {}).get("drivers") or ()}
    for driver in (old.get("spec") or {}).get("drivers") or ():
        found = now.get(driver.get("name"))
        if found is not None and {**found, "allocatable": None} != {**driver, "allocatable": None}:
            yield field.invalid("CSINode.spec.drivers", found, checks.IMMUTABLE)


CSI_NODE = ResourceType(
    group=GROUP,
    version="v1",
    kind="CSINode",
    plural="csinodes",
    namespaced=False,
    unconditional_update=False,
    validate=validate_csi_node,
    validate_update=validate_csi_node_update,
    columns=(
        Column(
            "Drivers",
            lambda o, now: len((o.get("spec") or {}).get("drivers") or ()),
            "integer",
            description="Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    ),
)

# ---------------------------------------------------------------- CSIStorageCapacity


def validate_capacity(obj: Object) -> Iterator[Cause]:
    yield from checks.subdomain("storageClassName", obj.get("storageClassName", ""))
    if obj.get("nodeTopology") is not None:
        yield from selectors.validate_label_selector(obj["nodeTopology"], "nodeTopology")
    if obj.get("capacity") is not None:
        yield from checks.quantity_not_negative("capacity", obj["capacity"])


def validate_capacity_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_capacity(new)
    for key in ("nodeTopology", "storageClassName"):
        yield from checks.immutable(key, new.get(key), old.get(key))


CSI_STORAGE_CAPACITY = ResourceType(
    group=GROUP,
    version="v1",
    kind="CSIStorageCapacity",
    plural="csistoragecapacities",
    unconditional_update=False,
    validate=validate_capacity,
    validate_update=validate_capacity_update,
    columns=(
        Column("StorageClassName", lambda o, now: o.get("storageClassName", ""), doc="storageClassName"),
        Column("Capacity", lambda o, now: o.get("capacity") or "<unset>", doc="capacity"),
    ),
)

# ---------------------------------------------------------------- VolumeAttachment


def prepare_attachment(obj: Object) -> None:
    obj["status"] = {"attached": False}


def prepare_attachment_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {"attached": False})


def validate_attachment(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    source = spec.get("source") or {}
    inline, volume = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    yield from validate_driver_name("spec.attacher", spec.get("attacher", ""))
    exactly_one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and volume is None:
        yield field.required("spec.source", exactly_one)
    elif inline is not None and volume is not None:
        yield field.forbidden("spec.source", exactly_one)
    elif volume is not None and not volume:
        message = "must specify non empty persistentVolumeName"
        yield field.required("spec.source.persistentVolumeName", message)
    elif inline is not None:
        yield from validate_spec("spec.source.inlineVolumeSpec", inline, inline=True)
    if volume is not None and inline is None:
        yield from checks.subdomain("spec.source.persistentVolumeName", volume)
    yield from checks.subdomain("spec.nodeName", spec.get("nodeName", ""))


def validate_attachment_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_attachment(new)
    yield from checks.immutable("spec", new.get("spec"), old.get("spec"))


VOLUME_ATTACHMENT = ResourceType(
    group=GROUP,
    version="v1",
    kind="VolumeAttachment",
    plural="volumeattachments",
    namespaced=False,
    status=True,
    unconditional_update=False,
    prepare_create=prepare_attachment,
    prepare_update=prepare_attachment_update,
    validate=validate_attachment,
    validate_update=validate_attachment_update,
    columns=(
        Column("Attacher", lambda o, now: o["spec"].get("attacher", ""), format="name", doc="spec.attacher"),
        Column(
            "PV",
            lambda o, now: (o["spec"].get("source") or {}).get("persistentVolumeName", ""),
            doc="spec.source.persistentVolumeName",
        ),
        Column("Node", lambda o, now: o["spec"].get("nodeName", ""), doc="spec.nodeName"),
        Column(
            "Attached",
            lambda o, now: bool((o.get("status") or {}).get("attached")),
            "boolean",
            doc="status.attached",
        ),
        AGE,
    ),
)

# ---------------------------------------------------------------- VolumeAttributesClass


def validate_attributes_class(obj: Object) -> Iterator[Cause]:
    yield from _validate_provisioner("driverName", obj.get("driverName", ""))
    yield from _validate_parameters("parameters", obj.get("parameters"), must_have=True)


def validate_attributes_class_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_attributes_class(new)
    for key in ("driverName", "parameters"):
        yield from checks.immutable(key, new.get(key), old.get(key))


VOLUME_ATTRIBUTES_CLASS = ResourceType(
    group=GROUP,
    version="v1",
    kind="VolumeAttributesClass",
    plural="volumeattributesclasses",
    namespaced=False,
    short_names=("vac",),
    validate=validate_attributes_class,
    validate_update=validate_attributes_class_update,
    columns=(Column("DriverName", lambda o, now: o.get("driverName", ""), doc="driverName"), AGE),
)

RESOURCES = (
    STORAGE_CLASS,
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
)

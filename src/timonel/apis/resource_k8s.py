"""resource.k8s.io/v1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice.

Upstream: pkg/apis/resource/{v1/defaults.go,validation/validation.go}, pkg/registry/resource/*/strategy.go,
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks, deviceclaims
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.apis.resourceslices import validate_slice_spec
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "resource.k8s.io"

# ---------------------------------------------------------------- DeviceClass


def validate_class(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from deviceclaims.validate_selectors("spec.selectors", spec.get("selectors") or [])
    yield from checks.each("spec.config", spec.get("config"), deviceclaims.validate_opaque)
    name = spec.get("extendedResourceName")
    if name is not None and ("/" not in name or not _is_extended(name)):
        yield field.invalid("spec.extendedResourceName", name, "must be a valid extended resource name")


def _is_extended(name: str) -> bool:
    return "kubernetes.io/" not in name and not list(checks.qualified_name("", f"requests.{name}"))


def validate_class_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_class(new)


# ---------------------------------------------------------------- ResourceClaim, ResourceClaimTemplate


def default_claim(obj: Object) -> None:
    deviceclaims.default_claim_spec(obj.get("spec") or {})


def default_template(obj: Object) -> None:
    deviceclaims.default_claim_spec((obj.get("spec") or {}).get("spec") or {})


def prepare_claim(obj: Object) -> None:
    obj["status"] = {}


def prepare_claim_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate_claim(obj: Object) -> Iterator[Cause]:
    yield from deviceclaims.validate_claim_spec("spec", obj.get("spec") or {})


def validate_template(obj: Object) -> Iterator[Cause]:
    yield from deviceclaims.validate_claim_spec("spec.spec", (obj.get("spec") or {}).get("spec") or {})


def validate_spec_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from checks.immutable("spec", new.get("spec"), old.get("spec"))


def _state(obj: Object, now: float) -> str:
    status, words = obj.get("status") or {}, []
    if obj["metadata"].get("deletionTimestamp"):
        words.append("deleted")
    if status.get("allocation") is None:
        words += [] if words else ["pending"]
    else:
        words.append("allocated")
        if status.get("reservedFor"):
            words.append("reserved")
    return ",".join(words)


# ---------------------------------------------------------------- ResourceSlice


def prepare_slice(obj: Object) -> None:
    """Taints are dated by the server when their driver does not; the creation of the slice is when they came."""
    for device in (obj.get("spec") or {}).get("devices") or ():
        for taint in device.get("taints") or ():
            created = obj["metadata"].get("creationTimestamp")
            if taint.get("timeAdded") is None and created:
                taint["timeAdded"] = created


def validate_slice(obj: Object) -> Iterator[Cause]:
    yield from validate_slice_spec(obj.get("spec") or {})


def validate_slice_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_slice(new)
    now, before = new.get("spec") or {}, old.get("spec") or {}
    yield from checks.immutable("spec.nodeName", now.get("nodeName"), before.get("nodeName"))
    yield from checks.immutable("spec.driver", now.get("driver"), before.get("driver"))
    names = ((spec.get("pool") or {}).get("name") for spec in (now, before))
    yield from checks.immutable("spec.pool.name", *names)


DEVICE_CLASS = ResourceType(
    group=GROUP,
    version="v1",
    kind="DeviceClass",
    plural="deviceclasses",
    namespaced=False,
    generation=True,
    validate=validate_class,
    validate_update=validate_class_update,
    columns=(AGE,),
)

RESOURCE_CLAIM = ResourceType(
    group=GROUP,
    version="v1",
    kind="ResourceClaim",
    plural="resourceclaims",
    status=True,
    default=default_claim,
    prepare_create=prepare_claim,
    prepare_update=prepare_claim_update,
    validate=validate_claim,
    validate_update=validate_spec_update,
    columns=(
        Column(
            "State",
            _state,
            description="A summary of the current state (allocated, pending, reserved, etc.).",
        ),
        AGE,
    ),
)

RESOURCE_CLAIM_TEMPLATE = ResourceType(
    group=GROUP,
    version="v1",
    kind="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    default=default_template,
    validate=validate_template,
    validate_update=validate_spec_update,
    columns=(AGE,),
)

RESOURCE_SLICE = ResourceType(
    group=GROUP,
    version="v1",
    kind="ResourceSlice",
    plural="resourceslices",
    namespaced=False,
    generation=True,
    selectable={
        "spec.nodeName": lambda o: (o.get("spec") or {}).get("nodeName") or "",
        "spec.driver": lambda o: (o.get("spec") or {}).get("driver", ""),
    },
    prepare_create=prepare_slice,
    validate=validate_slice,
    validate_update=validate_slice_update,
    columns=(
        Column(
            "Node", lambda o, now: (o.get("spec") or {}).get("nodeName") or "<unset>", doc="spec.nodeName"
        ),
        Column("Driver", lambda o, now: (o.get("spec") or {}).get("driver", ""), doc="spec.driver"),
        Column(
            "Pool",
            lambda o, now: ((o.get("spec") or {}).get("pool") or {}).get("name", ""),
            doc="spec.pool.name",
        ),
        AGE,
    ),
)

RESOURCES = (DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE)

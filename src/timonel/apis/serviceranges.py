"""networking.k8s.io/v1: IPAddress and ServiceCIDR, what cluster addresses are taken from.

Upstream: pkg/apis/networking/validation/validation.go, pkg/registry/networking/{ipaddress,servicecidr}/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

GROUP = "networking.k8s.io"


def name_is_ip(name: str, prefix: bool) -> list[str]:
    """The name of an IPAddress is the address, in canonical form."""
    found = checks.parsed_ip(name)
    if found is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(found) == name else [f'must be in canonical form ("{found}")']


def validate_ip_address(obj: Object) -> Iterator[Cause]:
    ref = (obj.get("spec") or {}).get("parentRef")
    if ref is None:
        yield field.required("spec.parentRef")
        return
    path = "spec.parentRef"
    if ref.get("group"):
        yield from checks.subdomain(f"{path}.group", ref["group"])
    for key in ("resource", "name"):
        yield from checks.required(f"{path}.{key}", ref.get(key))
    for key in ("resource", "name", "namespace"):
        if ref.get(key):
            yield from checks.told(f"{path}.{key}", ref[key], names.path_segment_name(ref[key]))


def validate_ip_address_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate_ip_address(new)
    now, before = ((obj.get("spec") or {}).get("parentRef") for obj in (new, old))
    yield from checks.immutable("spec.parentRef", now, before)


def _parent(obj: Object, now: float) -> str:
    ref = (obj.get("spec") or {}).get("parentRef") or {}
    group = f".{ref['group']}" if ref.get("group") else ""
    return f"{ref.get('resource', '')}{group}/{ref.get('namespace', '')}/{ref.get('name', '')}"


IP_ADDRESS = ResourceType(
    group=GROUP,
    version="v1",
    kind="IPAddress",
    plural="ipaddresses",
    namespaced=False,
    short_names=("ip",),
    validate_name=name_is_ip,
    validate=validate_ip_address,
    validate_update=validate_ip_address_update,
    columns=(Column("ParentRef", _parent, doc="spec.parentRef"), AGE),
)


def prepare_service_cidr(obj: Object) -> None:
    obj["status"] = {}


def prepare_service_cidr_update(new: Object, old: Object) -> None:
    new["status"] = old.get("status", {})


def validate_service_cidr(obj: Object) -> Iterator[Cause]:
    ranges: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    path = "spec.cidrs"
    if not ranges:
        yield field.required(path, "at least one CIDR required")
        return
    if len(ranges) > 2:
        yield field.invalid(path, {"CIDRs": ranges}, "may only hold up to 2 values")
        return
    parsed = [checks.parsed_cidr(text) for text in ranges]
    if len(ranges) == 2 and None not in parsed and len({p.version for p in parsed if p is not None}) != 2:
        message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"
        yield field.invalid(path, {"CIDRs": ranges}, message)
    for index, (text, found) in enumerate(zip(ranges, parsed, strict=True)):
        yield from checks.cidr(f"{path}[{index}]", text)
        if found is not None and str(found) != text:
            yield field.invalid(f"{path}[{index}]", text, f'must be in canonical form ("{found}")')


def validate_service_cidr_update(new: Object, old: Object) -> Iterator[Cause]:
    now, before = ((obj.get("spec") or {}).get("cidrs") for obj in (new, old))
    yield from checks.immutable("spec.cidrs", now, before)
    yield from validate_service_cidr(new)


SERVICE_CIDR = ResourceType(
    group=GROUP,
    version="v1",
    kind="ServiceCIDR",
    plural="servicecidrs",
    namespaced=False,
    status=True,
    prepare_create=prepare_service_cidr,
    prepare_update=prepare_service_cidr_update,
    validate=validate_service_cidr,
    validate_update=validate_service_cidr_update,
    columns=(
        Column("CIDRs", lambda o, now: ",".join((o.get("spec") or {}).get("cidrs") or ()), doc="spec.cidrs"),
        AGE,
    ),
)

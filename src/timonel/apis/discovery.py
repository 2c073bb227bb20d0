"""discovery.k8s.io/v1: EndpointSlice.

Upstream: pkg/apis/discovery/{v1/defaults.go,validation/validation.go},
pkg/registry/discovery/endpointslice/strategy.go, pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE, join_some
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
MAX_ADDRESSES, MAX_PORTS, MAX_ENDPOINTS, MAX_HINTS = 100, 20000, 1000, 8
SHOWN = 3


def default_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"
    for endpoint in obj.get("endpoints") or ():
        endpoint.setdefault("conditions", {})


def prepare_create(obj: Object) -> None:
    for endpoint in obj.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)  # of v1beta1


def prepare_update(new: Object, old: Object) -> None:
    prepare_create(new)


def validate(obj: Object) -> Iterator[Cause]:
    kind = obj.get("addressType", "")
    if not kind:
        yield field.required("addressType")
    else:
        yield from checks.one_of("addressType", kind, ADDRESS_TYPES)
    yield from _validate_ports(obj.get("ports") or [])
    endpoints: list[Object] = obj.get("endpoints") or []
    if len(endpoints) > MAX_ENDPOINTS:
        yield field.too_many("endpoints", len(endpoints), MAX_ENDPOINTS)
        return
    for index, endpoint in enumerate(endpoints):
        yield from _validate_endpoint(f"endpoints[{index}]", endpoint, kind)


def _validate_endpoint(path: str, endpoint: Object, kind: str) -> Iterator[Cause]:
    addresses: list[str] = endpoint.get("addresses") or []
    if not addresses:
        yield field.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > MAX_ADDRESSES:
        yield field.too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES)
    for index, address in enumerate(addresses):
        yield from _validate_address(f"{path}.addresses[{index}]", address, kind)
    if endpoint.get("nodeName") is not None:
        yield from checks.subdomain(f"{path}.nodeName", endpoint["nodeName"])
    yield from _validate_hints(f"{path}.hints", endpoint.get("hints") or {})
    if endpoint.get("hostname") is not None:
        yield from checks.label(f"{path}.hostname", endpoint["hostname"])


def _validate_address(path: str, address: str, kind: str) -> Iterator[Cause]:
    if kind == "FQDN":
        yield from checks.subdomain(path, address)
    if kind not in ("IPv4", "IPv6"):
        return
    found = checks.parsed_ip(address)
    if found is None:
        yield from checks.ip(path, address)
    elif f"IPv{found.version}" != kind:
        # upstream leaves the index out here
        yield field.invalid(path.rpartition("[")[0], address, f"must be an {kind} address")
    else:
        yield from checks.not_special_ip(path, address)


def _validate_hints(path: str, hints: Object) -> Iterator[Cause]:
    for key, rule in (("forZones", names.label_value), ("forNodes", names.dns1123_subdomain)):
        items: list[Object] = hints.get(key) or []
        if len(items) > MAX_HINTS:
            yield field.too_many(f"{path}.{key}", len(items), MAX_HINTS)
            continue
        seen: set[str] = set()
        for index, item in enumerate(items):
            name = item.get("name", "")
            if name in seen:
                yield field.duplicate(f"{path}.{key}[{index}].name", name)
            seen.add(name)
            yield from checks.told(f"{path}.{key}[{index}].name", name, rule(name))


def _validate_ports(ports: list[Object]) -> Iterator[Cause]:
    if len(ports) > MAX_PORTS:
        yield field.too_many("ports", len(ports), MAX_PORTS)
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", port.get("name", "")
        if name:
            yield from checks.label(f"{path}.name", name)
        if name in seen:
            yield field.duplicate(f"{path}.name", name)
        seen.add(name)
        yield from checks.one_of(f"{path}.protocol", port.get("protocol", ""), _PROTOCOLS)
        if port.get("appProtocol") is not None:
            yield from checks.qualified_name(f"{path}.appProtocol", port["appProtocol"])


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)
    yield from checks.immutable("addressType", new.get("addressType"), old.get("addressType"))


def warnings(obj: Object) -> Iterator[str]:
    if obj.get("addressType") == "FQDN":
        yield "spec.addressType: FQDN endpoints are deprecated"


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from warnings(new)


def _ports(obj: Object, now: float) -> str:
    ports = obj.get("ports") or []
    shown = ("*" if port.get("port") is None else str(port["port"]) for port in ports)
    return join_some(shown, SHOWN) or "<unset>"


def _addresses(obj: Object, now: float) -> str:
    found = (
        address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()
    )
    return join_some(found, SHOWN) or "<unset>"


ENDPOINT_SLICE = ResourceType(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    generation=True,
    default=default_slice,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(
        Column("AddressType", lambda o, now: o.get("addressType", ""), doc="addressType"),
        Column("Ports", _ports, doc="ports"),
        Column("Endpoints", _addresses, doc="endpoints"),
        AGE,
    ),
)

RESOURCES = (ENDPOINT_SLICE,)

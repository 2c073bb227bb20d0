"""core/v1: Endpoints, the deprecated forerunner of EndpointSlice.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/registry/core/endpoint/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE, join_some
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object

SHOWN = 3
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port["protocol"] = port.get("protocol") or "TCP"


def validate(obj: Object) -> Iterator[Cause]:
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield field.required(path, "must specify `addresses` or `notReadyAddresses`")
        for key in ("addresses", "notReadyAddresses"):
            yield from checks.each(f"{path}.{key}", subset.get(key), _validate_address)
        ports = subset.get("ports") or []
        for number, port in enumerate(ports):
            yield from _validate_port(f"{path}.ports[{number}]", port, len(ports) > 1)


def _validate_address(path: str, address: Object) -> Iterator[Cause]:
    text = address.get("ip", "")
    yield from checks.ip(f"{path}.ip", text)
    if address.get("hostname"):
        yield from checks.label(f"{path}.hostname", address["hostname"])
    if address.get("nodeName") is not None:
        yield from checks.subdomain(f"{path}.nodeName", address["nodeName"])
    yield from checks.not_special_ip(f"{path}.ip", text)


def _validate_port(path: str, port: Object, needs_name: bool) -> Iterator[Cause]:
    if port.get("name"):
        yield from checks.label(f"{path}.name", port["name"])
    elif needs_name:
        yield field.required(f"{path}.name")
    yield from checks.port_number(f"{path}.port", port.get("port", 0))
    yield from checks.one_of(f"{path}.protocol", port.get("protocol", ""), _PROTOCOLS)
    if port.get("appProtocol") is not None:
        yield from checks.qualified_name(f"{path}.appProtocol", port["appProtocol"])


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


def _addresses(obj: Object, now: float) -> str:
    listed = [
        f"[{a['ip']}]:{p['port']}" if ":" in a["ip"] else f"{a['ip']}:{p['port']}"
        for subset in obj.get("subsets") or ()
        for p in subset.get("ports") or ({"port": ""},)
        for a in subset.get("addresses") or ()
    ]
    return join_some((text.removesuffix(":") for text in listed), SHOWN) or "<none>"


ENDPOINTS = ResourceType(
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    short_names=("ep",),
    create_on_update=True,
    deprecated="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    default=default_endpoints,
    validate=validate,
    validate_update=validate_update,
    columns=(Column("Endpoints", _addresses, doc="subsets"), AGE),
)

RESOURCES = (ENDPOINTS,)

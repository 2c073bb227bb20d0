"""core/v1: Endpoints, the deprecated forerunner of EndpointSlice. Stored with subsets in canonical form.

Upstream: pkg/apis/core/{v1/defaults.go,validation/validation.go}, pkg/api/v1/endpoints/util.go,
pkg/registry/core/endpoint/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

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


def repack(obj: Object) -> None:
    """Canonical subsets: an address is in one subset, with all ports it has in the same state of readiness."""
    subsets: list[Object] = obj.get("subsets") or []
    ports_of: dict[str, list[Object]] = {}  # an address in a state -> its ports
    addresses: dict[str, tuple[Object, bool]] = {}
    for subset in subsets:
        for ready, key in ((True, "addresses"), (False, "notReadyAddresses")):
            for address in subset.get(key) or ():
                known = _text([_identity(address), ready])
                addresses.setdefault(known, (address, ready))
                listed = ports_of.setdefault(known, [])
                listed.extend(port for port in subset.get("ports") or () if port not in listed)
    grouped: dict[str, Object] = {}
    for known, (address, ready) in addresses.items():
        ports = sorted(ports_of[known], key=_text)
        subset = grouped.setdefault(_text(ports), {})
        subset.setdefault("addresses" if ready else "notReadyAddresses", []).append(address)
        if ports:
            subset["ports"] = ports
    if subsets:
        for subset in grouped.values():
            for key in ("addresses", "notReadyAddresses"):
                if key in subset:
                    subset[key].sort(key=lambda a: (_packed(a.get("ip", "")), _identity(a)[1]))
        obj["subsets"] = sorted(grouped.values(), key=_text)


def _identity(address: Object) -> tuple[str, str]:
    return address.get("ip", ""), (address.get("targetRef") or {}).get("uid", "")


def _packed(text: str) -> bytes:
    found = checks.parsed_ip(text)
    return found.packed if found else text.encode()


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


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
    canonicalize=repack,
    columns=(Column("Endpoints", _addresses, doc="subsets"), AGE),
)

RESOURCES = (ENDPOINTS,)

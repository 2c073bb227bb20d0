"""Networks in CIDR notation.

Upstream: apiserver/pkg/cel/library/cidr.go.
"""

from __future__ import annotations

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.library.addresses import CIDR, IP, CIDRValue, IPValue, parse_cidr, parse_ip
from timonel.machinery.cel.types import BOOL, INT, STRING

TYPES = (CIDR,)


def is_cidr(text: str) -> bool:
    try:
        parse_cidr(text)
    except EvaluationError:
        return False
    return True


def contains_ip(value: CIDRValue, other: IPValue | str) -> bool:
    address = parse_ip(other).address if isinstance(other, str) else other.address
    return address.version == value.address.version and address in value.network()


def contains_cidr(value: CIDRValue, other: CIDRValue | str) -> bool:
    inner = parse_cidr(other) if isinstance(other, str) else other
    if inner.address.version != value.address.version:
        return False
    return inner.prefix >= value.prefix and inner.network().network_address in value.network()


def masked(value: CIDRValue) -> CIDRValue:
    return CIDRValue(value.network().network_address, value.prefix)


FUNCTIONS: tuple[Overload, ...] = (
    overload("string_to_cidr", "cidr", (STRING,), CIDR, parse_cidr),
    overload("is_cidr", "isCIDR", (STRING,), BOOL, is_cidr),
    overload("cidr_to_string", "string", (CIDR,), STRING, lambda value: f"{value.address}/{value.prefix}"),
    member("cidr_contains_ip_string", "containsIP", (CIDR, STRING), BOOL, contains_ip),
    member("cidr_contains_ip_ip", "containsIP", (CIDR, IP), BOOL, contains_ip),
    member("cidr_contains_cidr_string", "containsCIDR", (CIDR, STRING), BOOL, contains_cidr),
    member("cidr_contains_cidr", "containsCIDR", (CIDR, CIDR), BOOL, contains_cidr),
    member("cidr_ip", "ip", (CIDR,), IP, lambda value: IPValue(value.address)),
    member("cidr_masked", "masked", (CIDR,), CIDR, masked),
    member("cidr_prefix_length", "prefixLength", (CIDR,), INT, lambda value: value.prefix),
)

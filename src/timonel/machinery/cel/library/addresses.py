"""Parsing of IP addresses and networks as rules see them.

Upstream: apiserver/pkg/cel/{ip,cidr}.go, Go's netip.
"""

from __future__ import annotations

import ipaddress
import re

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.types import opaque

IP = opaque("net.IP")
CIDR = opaque("net.CIDR")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_prefix = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII).fullmatch


class IPValue:
    __slots__ = ("address",)

    cel_type = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    @property
    def size(self) -> int:
        return len(self.address.packed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IPValue) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)


class CIDRValue:
    """An address with a prefix length; the address may have bits beyond the prefix."""

    __slots__ = ("address", "prefix")

    cel_type = "net.CIDR"

    def __init__(self, address: Address, prefix: int) -> None:
        self.address = address
        self.prefix = prefix

    @property
    def size(self) -> int:
        return -(-self.prefix // 8)

    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network((self.address.packed, self.prefix), strict=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CIDRValue) and (self.address, self.prefix) == (other.address, other.prefix)

    def __hash__(self) -> int:
        return hash((self.address, self.prefix))


def parse_ip(text: str) -> IPValue:
    """Raises EvaluationError for zones and for IPv4 addresses written as IPv6."""
    if "%" in text:
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        ) from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return IPValue(address)


def parse_cidr(text: str) -> CIDRValue:
    host, slash, prefix = text.partition("/")
    wrong = EvaluationError(
        f"network address parse error during conversion from string: netip.ParsePrefix(\"{text}\"): no '/'"
        if not slash
        else f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): bad bits after'
        f' slash: "{prefix}"'
    )
    if not slash or _prefix(prefix) is None:
        raise wrong
    if "%" in host:
        raise EvaluationError(f'CIDR "{text}" with zone value is not allowed')
    try:
        address = parse_ip(host).address
    except EvaluationError as error:
        if "mapped" in str(error):
            raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed') from None
        raise EvaluationError(f"network address parse error during conversion from string: {error}") from None
    if int(prefix) > address.max_prefixlen:
        raise wrong
    return CIDRValue(address, int(prefix))

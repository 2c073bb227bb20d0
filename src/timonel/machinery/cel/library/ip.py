"""IP addresses.

Upstream: apiserver/pkg/cel/library/ip.go.
"""

from __future__ import annotations

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.library.addresses import IP, IPValue, parse_ip
from timonel.machinery.cel.types import BOOL, INT, STRING

TYPES = (IP,)


def is_ip(text: str) -> bool:
    try:
        parse_ip(text)
    except EvaluationError:
        return False
    return True


def _is_link_local_multicast(value: IPValue) -> bool:
    packed = value.address.packed
    return packed[:3] == b"\xe0\x00\x00" if len(packed) == 4 else packed[0] == 0xFF and packed[1] & 0x0F == 2


def _is_global_unicast(value: IPValue) -> bool:
    """As Go's: private addresses are, too."""
    address = value.address
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.packed == b"\xff\xff\xff\xff"
    )


FUNCTIONS: tuple[Overload, ...] = (
    overload("string_to_ip", "ip", (STRING,), IP, parse_ip),
    overload("is_ip", "isIP", (STRING,), BOOL, is_ip),
    overload(
        "ip_is_canonical",
        "ip.isCanonical",
        (STRING,),
        BOOL,
        lambda text: str(parse_ip(text).address) == text,
    ),
    overload("ip_to_string", "string", (IP,), STRING, lambda value: str(value.address)),
    member("family", "family", (IP,), INT, lambda value: value.address.version),
    member("is_unspecified", "isUnspecified", (IP,), BOOL, lambda value: value.address.is_unspecified),
    member("is_loopback", "isLoopback", (IP,), BOOL, lambda value: value.address.is_loopback),
    member("is_link_local_multicast", "isLinkLocalMulticast", (IP,), BOOL, _is_link_local_multicast),
    member(
        "is_link_local_unicast", "isLinkLocalUnicast", (IP,), BOOL, lambda value: value.address.is_link_local
    ),
    member("is_global_unicast", "isGlobalUnicast", (IP,), BOOL, _is_global_unicast),
)

"""Small rules that many kinds share, as generators of causes in upstream's words.

Upstream: pkg/apis/core/validation/validation.go, apimachinery/pkg/api/validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from timonel.apis import resources
from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.machinery.quantity import Quantity

NOT_NEGATIVE = "must be greater than or equal to 0"
NOT_AN_INTEGER = "must be an integer"
IMMUTABLE = "field is immutable"
MAX_ANNOTATIONS = 256 * 1024
BAD_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
BAD_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def told(path: str, value: Any, messages: Iterable[str]) -> Iterator[Cause]:
    """One cause for each message of a rule of `machinery.names`."""
    for message in messages:
        yield field.invalid(path, value, message)


def one_of(path: str, value: Any, valid: Collection[str]) -> Iterator[Cause]:
    """The valid values are listed as given: pass them in the order that upstream prints."""
    if value not in valid:
        yield field.not_supported(path, value, valid)


def not_negative(path: str, value: int | None) -> Iterator[Cause]:
    if value is not None and value < 0:
        yield field.invalid(path, value, NOT_NEGATIVE)


def port_number(path: str, value: int) -> Iterator[Cause]:
    yield from told(path, value, names.port_number(value))


def port_or_name(path: str, value: int | str | None) -> Iterator[Cause]:
    if isinstance(value, str):
        yield from told(path, value, names.port_name(value))
    else:
        yield from port_number(path, value or 0)


def required(path: str, value: Any, detail: str = "") -> Iterator[Cause]:
    if not value:
        yield field.required(path, detail)


def immutable(path: str, new: Any, old: Any) -> Iterator[Cause]:
    if new != old:
        yield field.invalid(path, new, IMMUTABLE)


def subdomain(path: str, value: str) -> Iterator[Cause]:
    yield from told(path, value, names.dns1123_subdomain(value))


def label(path: str, value: str) -> Iterator[Cause]:
    yield from told(path, value, names.dns1123_label(value))


def qualified_name(path: str, value: str) -> Iterator[Cause]:
    yield from told(path, value, names.qualified_name(value))


def label_map(path: str, labels: Mapping[str, str] | None) -> Iterator[Cause]:
    """Keys and values of a map of labels; every cause names the map, not the key."""
    for key, value in sorted((labels or {}).items()):
        yield from told(path, key, names.qualified_name(key))
        yield from told(path, value, names.label_value(value))


def annotation_map(path: str, found: Mapping[str, str] | None) -> Iterator[Cause]:
    """The annotations of something that is no object of its own, such as a template."""
    for key in sorted(found or ()):
        yield from told(path, key, names.qualified_name(key.lower()))
    if sum(len(key.encode()) + len(value.encode()) for key, value in (found or {}).items()) > MAX_ANNOTATIONS:
        yield field.too_long(path, MAX_ANNOTATIONS)


def ip(path: str, text: str) -> Iterator[Cause]:
    """An address in canonical spelling, as fields of old ask for it too."""
    found = parsed_ip(text)
    if found is None and "." in text and parsed_ip(_without_leading_zeros(text)) is not None:
        yield field.invalid(path, text, "must not have leading 0s")
    elif found is None:
        yield from told(path, text, names.ip_address(text) or [BAD_IP])
    elif found.version == 6 and found.ipv4_mapped is not None:
        yield field.invalid(path, text, "must not be an IPv4-mapped IPv6 address")


def _without_leading_zeros(text: str) -> str:
    return re.sub(r"(^|\.)0+(?=\d)", r"\1", text)


def cidr(path: str, text: str) -> Iterator[Cause]:
    found = parsed_cidr(text)
    if found is None:
        head, slash, prefix = text.partition("/")
        sloppy = "." in head and parsed_cidr(f"{_without_leading_zeros(head)}{slash}{prefix}") is not None
        yield field.invalid(path, text, "must not have leading 0s" if sloppy else BAD_CIDR)
    elif found.network_address != parsed_ip(text.partition("/")[0]):
        yield field.invalid(path, text, "must not have bits set beyond the prefix length")


def parsed_cidr(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network, host bits cut off, or None where upstream's ParseCIDR fails (a mask, no prefix, blanks)."""
    head, slash, prefix = text.partition("/")
    if not slash or not prefix.isascii() or not prefix.isdigit() or "%" in head:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def parsed_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def not_special_ip(path: str, text: str) -> Iterator[Cause]:
    """Refuses addresses that mean something on every host."""
    found = parsed_ip(text)
    if found is None:
        yield field.invalid(path, text, "must be a valid IP address")
        return
    if found.is_unspecified:
        yield field.invalid(path, text, f"may not be unspecified ({text})")
    if found.is_loopback:
        yield field.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        yield field.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if found.is_multicast and (found.packed[:3] == b"\xe0\x00\x00" or found.packed[:2] == b"\xff\x02"):
        yield field.invalid(
            path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        )


def public_ip(path: str, text: str) -> Iterator[Cause]:
    bad = list(ip(path, text))
    yield from bad or not_special_ip(path, text)


def quantity(value: Any) -> Quantity:
    return Quantity.parse(str(value))


def quantity_not_negative(path: str, value: Any) -> Iterator[Cause]:
    if quantity(value) < Quantity.parse("0"):
        yield field.invalid(path, str(value), NOT_NEGATIVE)


def quantity_positive(path: str, value: Any) -> Iterator[Cause]:
    if not quantity(value) > Quantity.parse("0"):
        yield field.invalid(path, str(value), "must be greater than zero")


def resource_quantity(path: str, resource: str, value: Any) -> Iterator[Cause]:
    """Not negative, and whole where the resource is counted."""
    yield from quantity_not_negative(path, value)
    if resources.is_whole(resource) and quantity(value).milli() % 1000:
        yield field.invalid(path, str(value), NOT_AN_INTEGER)


def token_lifetime(path: str, seconds: int) -> Iterator[Cause]:
    if seconds < 600:
        yield field.invalid(path, seconds, "may not specify a duration less than 10 minutes")
    if seconds > 1 << 32:
        yield field.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")


def each(
    path: str, items: Iterable[Any] | None, rule: Callable[[str, Any], Iterable[Cause]]
) -> Iterator[Cause]:
    """`rule(path[i], item)` for every item of a list."""
    for index, item in enumerate(items or ()):
        yield from rule(f"{path}[{index}]", item)

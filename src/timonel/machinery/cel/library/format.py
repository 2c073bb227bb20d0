"""Named formats: `format.dns1123Label().validate(text)` is optional.none() or a list of faults.

Upstream: apiserver/pkg/cel/library/format.go.
"""

from __future__ import annotations

import base64
import binascii
import builtins
import re
from collections.abc import Callable

from timonel.machinery import names
from timonel.machinery.cel import times
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.library.urls import why_not
from timonel.machinery.cel.types import STRING, list_of, object, optional_of
from timonel.machinery.cel.values import NOTHING, Optional

FORMAT = object("kubernetes.NamedFormat", {})
TYPES = (FORMAT,)
_uuid = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE
).fullmatch
Check = Callable[[str], list[str]]


class FormatValue:
    __slots__ = ("check", "name", "pattern_size")

    cel_type = "kubernetes.NamedFormat"

    def __init__(self, name: str, check: Check, pattern_size: int) -> None:
        self.name = name
        self.check = check
        self.pattern_size = pattern_size
        """How long a pattern of the format would be: what a check costs follows from it."""

    def __eq__(self, other: builtins.object) -> bool:
        return isinstance(other, FormatValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _unless(fault: str, holds: Callable[[str], bool]) -> Check:
    return lambda text: [] if holds(text) else [fault]


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _dns1035_label_prefix(text: str) -> list[str]:
    return names.dns1035_label(text[:-1] + "a" if text.endswith("-") else text)


def _uri(text: str) -> list[str]:
    wrong = why_not(text)
    return [wrong] if wrong else []


FORMATS: dict[str, FormatValue] = {
    "dns1123Label": FormatValue("DNS1123Label", names.name_is_dns_label, 30),
    "dns1123Subdomain": FormatValue("DNS1123Subdomain", names.name_is_dns_subdomain, 60),
    "dns1035Label": FormatValue("DNS1035Label", names.dns1035_label, 30),
    "qualifiedName": FormatValue("QualifiedName", names.qualified_name, 60),
    "dns1123LabelPrefix": FormatValue(
        "DNS1123LabelPrefix", lambda text: names.name_is_dns_label(text, prefix=True), 30
    ),
    "dns1123SubdomainPrefix": FormatValue(
        "DNS1123SubdomainPrefix", lambda text: names.name_is_dns_subdomain(text, prefix=True), 60
    ),
    "dns1035LabelPrefix": FormatValue("DNS1035LabelPrefix", _dns1035_label_prefix, 30),
    "labelValue": FormatValue("LabelValue", names.label_value, 40),
    "uri": FormatValue("URI", _uri, 1000),
    "uuid": FormatValue(
        "uuid", _unless("does not match the UUID format", lambda text: _uuid(text) is not None), 80
    ),
    "byte": FormatValue("byte", _unless("invalid base64", _is_base64), 72),
    "date": FormatValue(
        "date", _unless("invalid date", lambda text: times.parse_date(text) is not None), 135
    ),
    "datetime": FormatValue(
        "datetime", _unless("invalid datetime", lambda text: times.parse_timestamp(text) is not None), 135
    ),
}


def _named(name: str) -> Optional:
    found = FORMATS.get(name)
    return NOTHING if found is None else Optional(found)


def _validate(value: FormatValue, text: str) -> Optional:
    faults = value.check(text)
    return Optional(list(faults)) if faults else NOTHING


def _constant(value: FormatValue) -> Callable[[], FormatValue]:
    return lambda: value


FUNCTIONS: tuple[Overload, ...] = (
    overload("format-named", "format.named", (STRING,), optional_of(FORMAT), _named),
    member("format-validate", "validate", (FORMAT, STRING), optional_of(list_of(STRING)), _validate),
    *(
        overload(f"format.{name}", f"format.{name}", (), FORMAT, _constant(value))
        for name, value in FORMATS.items()
    ),
)

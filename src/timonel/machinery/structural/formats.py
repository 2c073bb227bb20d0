"""The formats of strings and numbers that schemas of custom resources may ask for.

`known` says which name of a format counts; `validator` gives the rule of one. Names are compared without dashes
(`date-time` is `datetime`).

Upstream: kube-openapi/pkg/validation/strfmt, apiextensions-apiserver/pkg/apiserver/validation/formats.go.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date
from urllib.parse import urlsplit

from timonel.machinery import names
from timonel.machinery.quantity import Quantity, QuantityError

Rule = Callable[[str], bool]


def known(name: str, types: Sequence[str]) -> str:
    """The name if it is a format of such values, else empty: it is as if the schema did not say it."""
    kind = types[0] if len(types) == 1 else ""
    if kind in ("", "string"):
        return name if name.replace("-", "") in _RULES else ""
    return name if name in _NUMBERS.get(kind, ()) else ""


_NUMBERS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def validator(name: str) -> Rule | None:
    """The rule for strings; None for the formats of numbers."""
    return _RULES.get(name.replace("-", ""))


def _matches(pattern: str, flags: int = 0) -> Rule:
    match = re.compile(pattern, flags | re.ASCII).fullmatch
    return lambda text: match(text) is not None


# ---- addresses


def _is_uri(text: str) -> bool:
    """A URI or an absolute path, as in the first line of an HTTP request."""
    if not text or any(c < " " or c == "\x7f" for c in text) or re.search("%(?![0-9A-Fa-f]{2})", text):
        return False
    if text.startswith("/"):
        return True
    if _scheme(text) is None:
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return " " not in parts.netloc


_scheme = re.compile("[a-zA-Z][a-zA-Z0-9+.-]*:").match


def _is_email(text: str) -> bool:
    """An address, perhaps with a name: `Gopher <gopher@example.com>`."""
    from email.errors import MessageError  # slow to import, and few schemas ask for it
    from email.headerregistry import Address

    named = re.fullmatch(r"\s*(?:[^<>@]*)<([^<>]+)>\s*", text)
    spec = (named.group(1) if named else text).strip()
    try:
        found = Address(addr_spec=spec)
    except (ValueError, IndexError, MessageError):
        return False
    return bool(found.username) and bool(found.domain)


# over texts in which every letter, digit and symbol is an `x`
_hostname = re.compile(r"x(?:-?x{0,62})?|(?:x(?:[x-]{0,61}x)?\.)+x(?:-?x){1,62}").fullmatch


def _is_hostname(text: str) -> bool:
    shape = "".join(
        "x" if (c.isascii() and c.isalnum()) or unicodedata.category(c)[0] in "LS" else c.replace("x", "_")
        for c in text
    )
    if _hostname(shape) is None or len(text.encode()) > 255:
        return False
    return all(len(label.encode()) <= 63 for label in text.split("."))


def _is_ipv4(text: str) -> bool:
    return "." in text and names.parse_ip(text) is not None


def _is_ipv6(text: str) -> bool:
    return ":" in text and names.parse_ip(text) is not None


_is_mac = re.compile(
    r"(?:[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2}(?:\1[0-9a-fA-F]{2}){4}(?:(?:\1[0-9a-fA-F]{2}){2})?"
    r"(?:(?:\1[0-9a-fA-F]{2}){12})?))|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}|(?:[0-9a-fA-F]{4}\.){3}[0-9a-fA-F]{4}"
    r"|(?:[0-9a-fA-F]{4}\.){9}[0-9a-fA-F]{4}"
).fullmatch


# ---- numbers that carry a check digit


def _is_isbn10(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII) is None:
        return False
    values = [10 if c == "X" else int(c) for c in digits]
    return sum((10 - i) * v for i, v in enumerate(values)) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if re.fullmatch(r"\d{13}", digits, re.ASCII) is None:
        return False
    return sum((1, 3)[i % 2] * int(c) for i, c in enumerate(digits)) % 10 == 0


_card = _matches(
    r"(?:4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|(?:2131|1800|35\d{3})\d{11}|6(?:011|5\d{2}|4[4-9]\d)\d{12}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12})"
)


def _is_credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if not _card(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


# ---- times


def _is_date(text: str) -> bool:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return text.startswith("0000-") and _is_date("0004-" + text[5:])
    return True


_time = re.compile(r"(\d\d):(\d\d):(\d\d)(?:.\d+)?(?:z|[+-]\d\d:\d\d)", re.ASCII).fullmatch


def _is_date_time(text: str) -> bool:
    day, letter, rest = text.lower().partition("t")
    found = _time(rest.partition("t")[0])
    if not letter or found is None or not _is_date(day):
        return False
    return found.group(1) <= "23" and found.group(2) <= "59" and found.group(3) <= "59"


_GO_DURATION = re.compile(r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII).fullmatch
_PHRASE = re.compile(r"\d+\s*([A-Za-zµ]+)", re.ASCII)
# The last name of a unit may go on: sec, secs, seconds.
_UNITS = (
    ("ns", "nano"), ("us", "µs", "micro"), ("ms", "milli"), ("s", "sec"), ("m", "min"), ("h", "hr", "hour"),
    ("d", "day"), ("w", "wk", "week"),
)  # fmt: skip


def _is_duration(text: str) -> bool:
    """As Go writes them (`1h30m`), or with units as words anywhere in the text (`3 days`)."""
    if _GO_DURATION(text) is not None:
        return True
    units = [found.group(1).lower() for found in _PHRASE.finditer(text)]
    return any(unit in forms or unit.startswith(forms[-1]) for unit in units for forms in _UNITS)


# ---- others


def _is_quantity(text: str) -> bool:
    try:
        Quantity.parse(text)
    except QuantityError:
        return False
    return True


def _is_byte(text: str) -> bool:
    if not text:
        return False
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_object_id(text: str) -> bool:
    return re.fullmatch("[0-9a-fA-F]{24}", text) is not None


def _any(text: str) -> bool:
    return True


_HEX, _DASH = "[0-9a-f]", "-?"
_RULES: dict[str, Rule] = {
    "bsonobjectid": _is_object_id,
    "uri": _is_uri,
    "email": _is_email,
    "hostname": _is_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "cidr": lambda text: names.parse_cidr(text) is not None,
    "mac": lambda text: _is_mac(text) is not None,
    "uuid": _matches(
        f"{_HEX}{{8}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{12}}", re.I
    ),
    "uuid3": _matches(
        f"{_HEX}{{8}}{_DASH}{_HEX}{{4}}{_DASH}3{_HEX}{{3}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{12}}", re.I
    ),
    "uuid4": _matches(
        f"{_HEX}{{8}}{_DASH}{_HEX}{{4}}{_DASH}4{_HEX}{{3}}{_DASH}[89ab]{_HEX}{{3}}{_DASH}{_HEX}{{12}}", re.I
    ),
    "uuid5": _matches(
        f"{_HEX}{{8}}{_DASH}{_HEX}{{4}}{_DASH}5{_HEX}{{3}}{_DASH}[89ab]{_HEX}{{3}}{_DASH}{_HEX}{{12}}", re.I
    ),
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "creditcard": _is_credit_card,
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matches("#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(
        r"rgb\(\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*"
        r"(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)"
    ),
    "byte": _is_byte,
    "password": _any,
    "date": _is_date,
    "datetime": _is_date_time,
    "duration": _is_duration,
    "quantity": _is_quantity,
    "k8sshortname": lambda text: not names.dns1123_label(text),
    "k8slongname": lambda text: not names.dns1123_subdomain(text),
}

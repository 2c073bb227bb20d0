"""Makes the causes of a 422 answer, in upstream's words. A path is a plain string: `spec.containers[0].name`.

Validation functions are generators that *yield* causes, so that all errors are reported at once.

Upstream: apimachinery/pkg/util/validation/field/errors.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import orjson

from timonel.machinery.errors import Cause


def quote(text: str) -> str:
    """As Go's %q: double quotes, escapes for what is not printable."""
    out = ['"']
    for c in text:
        if c in '"\\':
            out.append("\\" + c)
        elif c.isprintable():
            out.append(c)
        elif c in _SHORT:
            out.append(_SHORT[c])
        elif ord(c) < 0x80:
            out.append(f"\\x{ord(c):02x}")
        elif ord(c) <= 0xFFFF:
            out.append(f"\\u{ord(c):04x}")
        else:
            out.append(f"\\U{ord(c):08x}")
    out.append('"')
    return "".join(out)


_SHORT = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def show(value: Any) -> str:
    """A bad value as upstream prints it in a message."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return float_text(value) if isinstance(value, float) else str(value)
    return orjson.dumps(value).decode()


def float_text(value: float) -> str:
    """As Go's %v prints a float: the fewest digits that give it back, an exponent below 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else '+'}Inf"
    digits = next(d for d in range(18) if d == 17 or float(f"{value:.{d}e}") == value)
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    power = int(exponent)
    if -4 <= power < 6:
        return f"{value:.{max(0, digits - power)}f}"
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def required(path: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", path)


def invalid(path: str, value: Any, detail: str) -> Cause:
    return Cause(
        "FieldValueInvalid", f"Invalid value: {show(value)}" + (f": {detail}" if detail else ""), path
    )


def not_supported(path: str, value: Any, valid: Iterable[str]) -> Cause:
    """The valid values are listed in the order given; pass them sorted where upstream sorts (it does, for sets)."""
    listed = ", ".join(quote(v) for v in valid)
    text = f"Unsupported value: {show(value)}" + (f": supported values: {listed}" if listed else "")
    return Cause("FieldValueNotSupported", text, path)


def forbidden(path: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}" if detail else "Forbidden", path)


def duplicate(path: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}", path)


def not_found(path: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {show(value)}", path)


def too_long(path: str, limit: int) -> Cause:
    detail = f"may not be more than {limit} bytes" if limit >= 0 else "value is too long"
    return Cause("FieldValueTooLong", f"Too long: {detail}", path)


def too_many(path: str, actual: int, limit: int) -> Cause:
    items = "item" if limit == 1 else "items"
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {limit} {items}", path)


def internal(path: str, detail: str) -> Cause:
    return Cause("InternalError", f"Internal error: {detail}", path)


def child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

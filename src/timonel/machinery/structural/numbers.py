"""Numbers as Go has them: an integer of 64 bits, or a float; and equality of JSON values by that.

Upstream: kube-openapi/pkg/validation/validate/values.go.
"""

from __future__ import annotations

import struct
from typing import Any

from timonel.machinery.field import float_text

INT32, INT64 = 1 << 31, 1 << 63


def is_integer(value: Any) -> bool:
    """One that does not fit into 64 bits is a float to Go."""
    return type(value) is int and -INT64 <= value < INT64


def is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def fits(value: int | float, kind: str, form: str) -> bool:
    """Whether a number, or the limit of one, can be of this type and format."""
    if kind == "integer":
        bound = INT32 if form == "int32" else INT64
        return float(value).is_integer() and -bound <= value < bound
    if form == "float":
        try:
            struct.pack("f", value)
        except OverflowError:
            return False
    return True


def not_multiple(value: int | float, factor: int | float, *, exclusive: bool, native: bool) -> str:
    """`native`: an integer is compared with the integer part of the limit, as upstream does."""
    if factor < 0:
        return ""
    if native and is_integer(value):
        whole = int(factor)
        wrong, shown = (value % whole != 0, str(whole)) if whole else (False, "")
    else:
        ratio = value / factor if factor else 0.0
        wrong, shown = abs(ratio - round(ratio)) > 1e-9 * max(1.0, abs(ratio)), text(float(factor))
    return f"should be a multiple of {shown}" if wrong else ""


def above(value: int | float, limit: int | float, *, exclusive: bool, native: bool) -> str:
    bound = int(limit) if native and is_integer(value) else float(limit)
    if value < bound or (value == bound and not exclusive):
        return ""
    return f"should be less than {'' if exclusive else 'or equal to '}{text(bound)}"


def below(value: int | float, limit: int | float, *, exclusive: bool, native: bool) -> str:
    bound = int(limit) if native and is_integer(value) else float(limit)
    if value > bound or (value == bound and not exclusive):
        return ""
    return f"should be greater than {'' if exclusive else 'or equal to '}{text(bound)}"


def text(value: int | float) -> str:
    """As Go's %v prints it."""
    return str(value) if type(value) is int else float_text(value)


def equal(one: Any, two: Any) -> bool:
    """As JSON: true is no number, 1 and 1.0 are the same."""
    if type(one) is bool or type(two) is bool:
        return one is two
    if type(one) is dict and type(two) is dict:
        return one.keys() == two.keys() and all(equal(item, two[key]) for key, item in one.items())
    if type(one) is list and type(two) is list:
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two)


def has_repeated(items: list[Any]) -> bool:
    return any(equal(item, other) for index, item in enumerate(items) for other in items[:index])


def is_whole(value: Any) -> bool:
    """Whether the type integer admits it: 1.0 is one."""
    if type(value) is int:
        return -INT64 <= value < INT64
    return type(value) is float and value.is_integer() and -INT64 <= value < INT64

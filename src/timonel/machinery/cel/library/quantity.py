"""Quantities such as `1Gi` and `100m`.

Upstream: apiserver/pkg/cel/library/quantity.go.
"""

from __future__ import annotations

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.types import BOOL, DOUBLE, INT, STRING, opaque
from timonel.machinery.cel.values import INT_MAX, INT_MIN
from timonel.machinery.quantity import NANO, Quantity, QuantityError

QUANTITY = opaque("kubernetes.Quantity")
TYPES = (QUANTITY,)


class QuantityValue:
    """A quantity as rules see it: compared by value."""

    __slots__ = ("of",)

    cel_type = "kubernetes.Quantity"

    def __init__(self, of: Quantity) -> None:
        self.of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantityValue) and self.of.nanos == other.of.nanos

    def __hash__(self) -> int:
        return hash(self.of.nanos)

    def __repr__(self) -> str:
        return f"quantity({str(self.of)!r})"


def _parse(text: str) -> QuantityValue:
    try:
        return QuantityValue(Quantity.parse(text))
    except QuantityError as wrong:
        raise EvaluationError(str(wrong)) from None


def _is_quantity(text: str) -> bool:
    try:
        Quantity.parse(text)
    except QuantityError:
        return False
    return True


def _whole(value: QuantityValue) -> int | None:
    whole, rest = divmod(value.of.nanos, NANO)
    return whole if rest == 0 and INT_MIN <= whole <= INT_MAX else None


def _as_integer(value: QuantityValue) -> int:
    whole = _whole(value)
    if whole is None:
        raise EvaluationError("cannot convert value to integer")
    return whole


def _compare(value: QuantityValue, other: QuantityValue) -> int:
    return (value.of.nanos > other.of.nanos) - (value.of.nanos < other.of.nanos)


def _nanos(other: QuantityValue | int) -> int:
    return other.of.nanos if isinstance(other, QuantityValue) else other * NANO


def _add(value: QuantityValue, other: QuantityValue | int) -> QuantityValue:
    return QuantityValue(Quantity(value.of.nanos + _nanos(other), value.of.format))


def _sub(value: QuantityValue, other: QuantityValue | int) -> QuantityValue:
    return QuantityValue(Quantity(value.of.nanos - _nanos(other), value.of.format))


FUNCTIONS: tuple[Overload, ...] = (
    overload("string_to_quantity", "quantity", (STRING,), QUANTITY, _parse),
    overload("is_quantity_string", "isQuantity", (STRING,), BOOL, _is_quantity),
    member(
        "quantity_sign", "sign", (QUANTITY,), INT, lambda value: (value.of.nanos > 0) - (value.of.nanos < 0)
    ),
    member(
        "quantity_is_greater_than",
        "isGreaterThan",
        (QUANTITY, QUANTITY),
        BOOL,
        lambda value, other: value.of.nanos > other.of.nanos,
    ),
    member(
        "quantity_is_less_than",
        "isLessThan",
        (QUANTITY, QUANTITY),
        BOOL,
        lambda value, other: value.of.nanos < other.of.nanos,
    ),
    member("quantity_compare_to", "compareTo", (QUANTITY, QUANTITY), INT, _compare),
    member(
        "quantity_get_float", "asApproximateFloat", (QUANTITY,), DOUBLE, lambda value: value.of.nanos / NANO
    ),
    member("quantity_get_int", "asInteger", (QUANTITY,), INT, _as_integer),
    member("quantity_is_integer", "isInteger", (QUANTITY,), BOOL, lambda value: _whole(value) is not None),
    member("quantity_add", "add", (QUANTITY, QUANTITY), QUANTITY, _add),
    member("quantity_add_int", "add", (QUANTITY, INT), QUANTITY, _add),
    member("quantity_sub", "sub", (QUANTITY, QUANTITY), QUANTITY, _sub),
    member("quantity_sub_int", "sub", (QUANTITY, INT), QUANTITY, _sub),
)

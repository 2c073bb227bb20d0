"""Quantities (`1500m`, `1Gi`, `12e6`): exact values that print in upstream's canonical form.

A quantity is a whole number of nano units; what is finer is rounded away from zero when parsed, as upstream does. The
kind of suffix it was written with is kept for printing and is no part of its value.

Upstream: apimachinery/pkg/api/resource/{quantity,suffix}.go.
"""

from __future__ import annotations

import re
from functools import lru_cache, total_ordering

NANO = 10**9
MAX_INT64 = (1 << 63) - 1

DECIMAL_SI = "DecimalSI"
BINARY_SI = "BinarySI"
DECIMAL_EXPONENT = "DecimalExponent"

_FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SUFFIX_WRONG = "unable to parse quantity's suffix"

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_NAME = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_shape = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*)([-+]?)([0-9]*)").fullmatch


class QuantityError(ValueError):
    """The text is no quantity; the message is upstream's."""


def _ceil_div(number: int, divisor: int) -> int:
    return -(-number // divisor)


@total_ordering
class Quantity:
    """Immutable. `nanos` is the value times 10^9; two quantities are equal when their values are."""

    __slots__ = ("format", "nanos")

    nanos: int
    format: str

    def __init__(self, nanos: int, format: str = DECIMAL_SI) -> None:
        self.nanos = nanos
        self.format = format

    @staticmethod
    def parse(text: str | int | float) -> Quantity:
        return _parse(text if isinstance(text, str) else repr(text))

    @staticmethod
    def of(number: int, format: str = DECIMAL_SI) -> Quantity:
        return Quantity(number * NANO, format)

    def value(self) -> int:
        """Whole units, rounded up (away from zero)."""
        return self._scaled(NANO)

    def milli(self) -> int:
        """Thousandths, rounded up (away from zero)."""
        return self._scaled(1_000_000)

    def _scaled(self, unit: int) -> int:
        return _ceil_div(self.nanos, unit) if self.nanos >= 0 else -_ceil_div(-self.nanos, unit)

    def rounded_up(self, unit_nanos: int) -> Quantity:
        """Up to a multiple of a unit given in nanos (1_000_000: milli)."""
        return Quantity(self._scaled(unit_nanos) * unit_nanos, self.format)

    def __float__(self) -> float:
        return self.nanos / NANO

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __add__(self, other: Quantity) -> Quantity:
        # As upstream's Add: zero takes the other's form.
        return Quantity(self.nanos + other.nanos, self.format if self.nanos else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, self.format if self.nanos else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nanos, self.format)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(self.nanos * factor, self.format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __str__(self) -> str:
        nanos = self.nanos
        if not nanos:
            return "0"
        if self.format == BINARY_SI and not nanos % NANO and not -1024 * NANO < nanos < 1024 * NANO:
            return _binary(nanos // NANO)
        return _decimal(nanos, self.format)


def _binary(number: int) -> str:
    step = 0
    while not number % 1024 and step < len(_BINARY) - 1:
        number //= 1024
        step += 1
    return f"{number}{_BINARY[step]}"


def _decimal(nanos: int, format: str) -> str:
    exponent = -9
    while not nanos % 1000:
        nanos //= 1000
        exponent += 3
    if format == DECIMAL_EXPONENT:
        return f"{nanos}e{exponent}" if exponent else str(nanos)
    while exponent > 18:
        nanos *= 1000
        exponent -= 3
    return f"{nanos}{_DECIMAL_NAME[exponent]}"


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _shape(text)
    if match is None:
        raise QuantityError(_FORMAT_WRONG)
    sign, whole, fraction, suffix, exponent_sign, exponent_digits = match.groups(default="")
    if not whole and not fraction:
        raise QuantityError(_FORMAT_WRONG)
    scale, binary, format = _interpret(suffix, exponent_sign + exponent_digits)
    digits = int((whole + fraction) or "0")
    denominator = 10 ** len(fraction)
    if binary:
        numerator = digits * (1024**binary) * NANO
    else:
        scale += 9
        numerator = digits * 10**scale if scale >= 0 else digits
        denominator *= 1 if scale >= 0 else 10**-scale
    nanos = _ceil_div(numerator, denominator)
    if nanos > MAX_INT64 * NANO:
        nanos = MAX_INT64 * NANO
    return Quantity(-nanos if sign == "-" else nanos, format)


def _interpret(suffix: str, exponent: str) -> tuple[int, int, str]:
    """(power of ten, power of 1024, format) of a suffix."""
    if exponent and suffix in ("e", "E"):
        if exponent in ("+", "-") or len(exponent) > 5:
            raise QuantityError(_SUFFIX_WRONG)
        return int(exponent), 0, DECIMAL_EXPONENT
    if not exponent and suffix in _DECIMAL:
        return _DECIMAL[suffix], 0, DECIMAL_SI
    if not exponent and suffix in _BINARY:
        return 0, _BINARY.index(suffix), BINARY_SI
    raise QuantityError(_SUFFIX_WRONG)

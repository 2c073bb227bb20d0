"""Quantities as the plain integers that a node deals in: thousandths for CPU, whole units for the rest."""

from __future__ import annotations

import math
import re
from fractions import Fraction

_TEXT = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?$")
_SUFFIXES = {
    **{s: Fraction(1000) ** p for s, p in zip("num", (-3, -2, -1), strict=True)},
    **{s: Fraction(1000) ** p for s, p in zip("kMGTPE", range(1, 7), strict=True)},
    **{f"{s}i": Fraction(1024) ** p for s, p in zip("KMGTPE", range(1, 7), strict=True)},
}


def exact(text: str | int | float | None) -> Fraction:
    if text is None or text == "":
        return Fraction(0)
    match = _TEXT.match(str(text))
    if match is None:
        raise ValueError(f"not a quantity: {text}")
    number, exponent, suffix = match.groups()
    return Fraction(number + (exponent or "")) * _SUFFIXES.get(suffix, Fraction(1))


def milli(text: str | None) -> int:
    return math.ceil(exact(text) * 1000)


def whole(text: str | None) -> int:
    return math.ceil(exact(text))


def divided(text: str, divisor: str) -> str:
    """How many divisors make up the amount, rounded up."""
    return str(math.ceil(exact(text) / exact(divisor)))

"""Quantities as the plain integers that a node deals in: thousandths for CPU, whole units for the rest."""

from __future__ import annotations

from timonel.machinery.quantity import Quantity


def milli(text: str | None) -> int:
    return Quantity.parse(text).milli() if text else 0


def whole(text: str | None) -> int:
    return Quantity.parse(text).value() if text else 0


def divided(text: str, divisor: str) -> str:
    """How many divisors make up the amount, rounded up."""
    return str(-(-Quantity.parse(text).nanos // Quantity.parse(divisor).nanos))

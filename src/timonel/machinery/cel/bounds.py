"""Ranges of costs and sizes: unsigned 64-bit numbers that stop at the largest instead of overflowing.

Upstream: cel-go checker/cost.go (SizeEstimate, CostEstimate).
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from timonel.records import dataclass

LARGEST = (1 << 64) - 1


def scaled(value: int, factor: float) -> int:
    """`ceil(value * factor)` in floating point, as upstream computes it."""
    product = float(value) * factor
    return LARGEST if product >= 2.0**64 else min(ceil(Fraction(product)), LARGEST)


@dataclass(frozen=True, slots=True)
class Range:
    min: int
    max: int

    def __add__(self, other: Range) -> Range:
        return Range(min(self.min + other.min, LARGEST), min(self.max + other.max, LARGEST))

    def __mul__(self, other: Range) -> Range:
        return Range(min(self.min * other.min, LARGEST), min(self.max * other.max, LARGEST))

    def by(self, factor: float) -> Range:
        return Range(scaled(self.min, factor), scaled(self.max, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.min, other.min), max(self.max, other.max))


def fixed(value: int) -> Range:
    return Range(value, value)


NONE = fixed(0)
ONE = fixed(1)
UNKNOWN = Range(0, LARGEST)
EMPTY = Range(LARGEST, 0)
"""The union of nothing."""

"""How many seats each priority level has: its nominal share, and what it lends and borrows. Pure.

Upstream: apiserver/pkg/util/flowcontrol/{conc_alloc,max_seats,apf_controller}.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from timonel.objects.meta import Object
from timonel.records import dataclass

MAX_SEATS_SHARE = 0.15  # of a level's seats, that one request may take
STEPS = 60  # of the search for the fair fraction


@dataclass(frozen=True, slots=True)
class Limits:
    """`lowest` and `highest` bound the seats that a level has at a time, whatever the others need."""

    nominal: int
    lendable: int
    borrowing: int | None  # None: no limit but the server's

    @property
    def lowest(self) -> int:
        return self.nominal - self.lendable

    def highest(self, total: int) -> int:
        return self.nominal + (total if self.borrowing is None else self.borrowing)


def shares(spec: Object) -> Object:
    found: Object = spec.get("exempt" if spec.get("type") == "Exempt" else "limited") or {}
    return found


def limits(specs: Mapping[str, Object], total: int) -> dict[str, Limits]:
    """Of all levels, by name, when the server has `total` seats."""
    summed = sum(shares(spec).get("nominalConcurrencyShares") or 0 for spec in specs.values())
    found = {}
    for name, spec in specs.items():
        own = shares(spec)
        nominal = math.ceil(total * (own.get("nominalConcurrencyShares") or 0) / (summed or 1))
        lendable = round(nominal * (own.get("lendablePercent") or 0) / 100)
        percent = own.get("borrowingLimitPercent")
        borrowing = None if percent is None else round(nominal * percent / 100)
        found[name] = Limits(nominal, lendable, borrowing)
    return found


def widest(spec: Object, nominal: int) -> int:
    """Seats that one request of a level may take; 0: no other limit than for all."""
    queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing")
    if not queuing:
        return 0
    return max(1, min(math.ceil(nominal * MAX_SEATS_SHARE), nominal // max(queuing.get("handSize") or 1, 1)))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a level asks for: between `low` (its due) and `high` (its bound), towards `target`."""

    low: float
    high: float
    target: float


def allocate(demands: Sequence[Demand], total: float) -> list[int]:
    """Seats for each, so that all have the same fraction of their target, within their bounds, and all are given out.

    Where the bounds leave no choice they win, even if the sum is not `total`.
    """
    lowest = sum(d.low for d in demands)
    if lowest >= total:
        return [round(d.low) for d in demands]
    if sum(d.high for d in demands) <= total:
        return [round(d.high) for d in demands]
    low, high = 0.0, 1.0
    while sum(_given(d, high) for d in demands) < total and high < 2**40:
        low, high = high, high * 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        if sum(_given(d, middle) for d in demands) < total:
            low = middle
        else:
            high = middle
    return [round(_given(d, high)) for d in demands]


def _given(demand: Demand, fraction: float) -> float:
    return min(demand.high, max(demand.low, fraction * max(demand.target, 1e-6)))

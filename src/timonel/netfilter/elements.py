"""What the maps and sets of a table should hold, and what changes between two states of it. Pure.

An element has at most one value but may be claimed by several owners (a pod's hairpin by all Services that lead to it;
an external address by two Services): the first claim in the order of names holds, the others wait behind it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from timonel.records import dataclass

INET = 0  # the family of tables for both families of addresses
Key = bytes | tuple[bytes, bytes]  # a pair is a range, both ends in it
Spot = tuple[int, str, Key]  # family (4, 6, INET), map or set, key
Value = bytes | str  # data, or a verdict as "goto CHAIN" or "jump CHAIN"; b"" in sets


@dataclass(frozen=True, slots=True)
class Changes:
    """What leaves and what enters; an element that gets another value does both."""

    delete: tuple[Spot, ...] = ()
    add: tuple[tuple[Spot, Value], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.delete or self.add)


class Claims:
    """`put` and `drop` note changes, `take` hands over what has come of them since it was last called."""

    def __init__(self) -> None:
        self._of: dict[str, Mapping[Spot, Value]] = {}
        self._claims: dict[Spot, tuple[str, ...]] = {}  # who claims it
        self._before: dict[Spot, Value | None] = {}  # of the elements touched since the last `take`

    def drop(self, owner: str) -> None:
        self.put(owner, {})

    def put(self, owner: str, new: Mapping[Spot, Value]) -> None:
        old = self._of.get(owner, {})
        for spot in {**old, **new}:
            if old.get(spot) != new.get(spot) and spot not in self._before:
                self._before[spot] = self._value(spot)
        for spot in old.keys() - new.keys():
            rest = tuple(o for o in self._claims.pop(spot) if o != owner)
            if rest:
                self._claims[spot] = rest
        for spot in new.keys() - old.keys():
            self._claims[spot] = (*self._claims.get(spot, ()), owner)
        self._of.pop(owner, None)
        if new:
            self._of[owner] = new

    def _value(self, spot: Spot) -> Value | None:
        claims = self._claims.get(spot)
        return self._of[min(claims)][spot] if claims else None

    def take(self) -> Changes:
        delete: list[Spot] = []
        add: list[tuple[Spot, Value]] = []
        for spot, old in self._before.items():
            new = self._value(spot)
            if old == new:
                continue
            if old is not None:
                delete.append(spot)
            if new is not None:
                add.append((spot, new))
        self._before = {}
        return Changes(tuple(delete), tuple(add))


def packed(ip: str) -> bytes:
    return ipaddress.ip_address(ip).packed if ":" in ip else bytes(map(int, ip.split(".")))

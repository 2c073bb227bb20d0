"""How much of a device's capacity a request takes, where several may share the device. Pure.

Upstream: dynamic-resource-allocation/structured/internal/incubating/consumable_capacity.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from timonel.machinery.quantity import Quantity

Tree = Mapping[str, Any]
Amounts = Mapping[str, Quantity]  # by the name of the capacity


def consumed(
    capacity: Mapping[str, Tree], asked: Mapping[str, Any], driver: str
) -> dict[str, Quantity] | None:
    """What is taken of each capacity; None where the device does not have it, or not in such portions."""
    wanted: dict[str, Quantity] = {}
    for name, amount in asked.items():
        known = _known_as(name, capacity, driver)
        if known is None:
            return None
        wanted[known] = Quantity.parse(amount)
    found: dict[str, Quantity] = {}
    for name, told in capacity.items():
        policy = told.get("requestPolicy") or {}
        taken = _portion(wanted.get(name), Quantity.parse(told["value"]), policy)
        if not _is_allowed(taken, policy):
            return None
        found[name] = taken
    return found


def fits(capacity: Mapping[str, Tree], taken: Amounts, others: Iterable[Amounts]) -> bool:
    """Whether there is enough for one more beside the others."""
    besides = list(others)
    for name, amount in taken.items():
        total = amount.nanos + sum(other[name].nanos for other in besides if name in other)
        if total > Quantity.parse(capacity[name]["value"]).nanos:
            return False
    return True


def _known_as(name: str, capacity: Mapping[str, Tree], driver: str) -> str | None:
    """A name without a domain is one of the driver's."""
    domain, _, rest = name.rpartition("/")
    other = f"{driver}/{rest}" if not domain else rest if domain == driver else name
    return next((known for known in (name, other) if known in capacity), None)


def _portion(asked: Quantity | None, all_of_it: Quantity, policy: Tree) -> Quantity:
    if asked is None:
        return Quantity.parse(policy["default"]) if policy.get("default") is not None else all_of_it
    valid_range, values = policy.get("validRange") or {}, policy.get("validValues")
    if valid_range.get("min") is not None:
        return _rounded_up(asked, valid_range)
    if values:
        return next((v for v in map(Quantity.parse, values) if not v < asked), asked)
    return asked


def _rounded_up(asked: Quantity, valid_range: Tree) -> Quantity:
    least = Quantity.parse(valid_range["min"])
    if asked < least:
        return least
    if valid_range.get("step") is None:
        return asked
    step = Quantity.parse(valid_range["step"])
    steps = -(-(asked.value() - least.value()) // step.value())
    return Quantity.of(least.value() + steps * step.value(), step.format)


def _is_allowed(taken: Quantity, policy: Tree) -> bool:
    if policy.get("default") is not None and taken == Quantity.parse(policy["default"]):
        return True
    valid_range, values = policy.get("validRange"), policy.get("validValues")
    if valid_range is not None:
        if valid_range.get("max") is not None and Quantity.parse(valid_range["max"]) < taken:
            return False
        if valid_range.get("step") is not None:
            least = Quantity.parse(valid_range.get("min") or "0").value()
            return (taken.value() - least) % Quantity.parse(valid_range["step"]).value() == 0
        return True
    return not values or any(taken == Quantity.parse(value) for value in values)

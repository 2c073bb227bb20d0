"""How fast an autoscaler may move: stabilisation over recent recommendations, then limits per period.

Upstream: pkg/controller/podautoscaler/horizontal.go (stabilizeRecommendation…, convertDesiredReplicas…).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from timonel.objects.meta import Object
from timonel.records import dataclass

DOWNSCALE_STABILISATION = 300.0  # seconds
FASTEST_FACTOR, FASTEST_LEAST = 2.0, 4.0

LOWER = "recent recommendations were lower than current one, applying the lowest recent recommendation"
HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_FAST = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_SLOW = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")


@dataclass(frozen=True, slots=True)
class Moment:
    """Something at a time: a recommendation, or by how many a scaling changed the replicas (down: negative)."""

    at: float
    number: int


class Bounds(NamedTuple):
    current: int
    least: int
    most: int


class Steadied(NamedTuple):
    replicas: int
    reason: str = "ReadyForNewScale"
    message: str = "recommended size matches current size"


class Limited(NamedTuple):
    replicas: int
    reason: str
    message: str


def longest_memory(behavior: Object | None) -> float:
    """For how many seconds recommendations and changes may still matter."""
    if behavior is None:
        return DOWNSCALE_STABILISATION
    periods = [p["periodSeconds"] for side in behavior.values() for p in (side or {}).get("policies") or ()]
    return max(_window(behavior, "scaleUp"), _window(behavior, "scaleDown"), *map(float, periods), 0.0)


def _window(behavior: Object, side: str) -> float:
    given = (behavior.get(side) or {}).get("stabilizationWindowSeconds")
    if given is not None:
        return float(given)
    return DOWNSCALE_STABILISATION if side == "scaleDown" else 0.0


def steadied(
    behavior: Object | None, bounds: Bounds, wanted: int, recommended: Sequence[Moment], now: float
) -> Steadied:
    """The recommendation that recent ones allow."""
    if behavior is None:
        recent = [m.number for m in recommended if m.at >= now - DOWNSCALE_STABILISATION]
        best, verdict = max([wanted, *recent]), ("ScaleDownStabilized", HIGHER)
    elif wanted >= bounds.current:
        recent = [m.number for m in recommended if m.at > now - _window(behavior, "scaleUp")]
        best, verdict = min([wanted, *recent]), ("ScaleUpStabilized", LOWER)
    else:
        recent = [m.number for m in recommended if m.at > now - _window(behavior, "scaleDown")]
        best, verdict = max([wanted, *recent]), ("ScaleDownStabilized", HIGHER)
    return Steadied(best, *verdict) if best != wanted else Steadied(wanted)


def limited(
    behavior: Object | None, bounds: Bounds, wanted: int, changes: Sequence[Moment], now: float
) -> Limited:
    """What may be reached now of what is wanted."""
    if behavior is None:
        return _by_rule(bounds, wanted)
    if wanted > bounds.current:
        limit = max(_up_limit(behavior.get("scaleUp") or {}, bounds.current, changes, now), bounds.current)
        highest, why = (limit, TOO_FAST) if bounds.most > limit else (bounds.most, TOO_MANY)
        if wanted > highest:
            return Limited(highest, *why)
    elif wanted < bounds.current:
        limit = min(
            _down_limit(behavior.get("scaleDown") or {}, bounds.current, changes, now), bounds.current
        )
        lowest, why = (limit, TOO_SLOW) if bounds.least < limit else (bounds.least, TOO_FEW)
        if wanted < lowest:
            return Limited(lowest, *why)
    return Limited(wanted, *WITHIN)


def _by_rule(bounds: Bounds, wanted: int) -> Limited:
    """Without a behavior: at most double, or four."""
    limit = int(max(FASTEST_FACTOR * bounds.current, FASTEST_LEAST))
    highest, why = (limit, TOO_FAST) if bounds.most > limit else (bounds.most, TOO_MANY)
    if wanted < bounds.least:
        return Limited(bounds.least, *TOO_FEW)
    return Limited(highest, *why) if wanted > highest else Limited(wanted, *WITHIN)


def _changed(changes: Sequence[Moment], period: float, now: float, *, up: bool) -> int:
    return sum(abs(m.number) for m in changes if m.at > now - period and (m.number > 0) == up)


def _up_limit(rules: Object, current: int, changes: Sequence[Moment], now: float) -> int:
    choice = rules.get("selectPolicy", "Max")
    if choice == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules.get("policies") or ():
        start = current
        start -= _changed(changes, policy["periodSeconds"], now, up=True)
        start += _changed(changes, policy["periodSeconds"], now, up=False)
        if policy["type"] == "Pods":
            limits.append(start + policy["value"])
        else:  # rounded up: a small percentage must not keep a target from ever growing
            limits.append(math.ceil(start * (100 + policy["value"]) / 100))
    # For scaling up, the lowest change is the lowest number.
    return min(limits) if choice == "Min" else max(limits, default=current)


def _down_limit(rules: Object, current: int, changes: Sequence[Moment], now: float) -> int:
    choice = rules.get("selectPolicy", "Max")
    if choice == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules.get("policies") or ():
        start = current
        start += _changed(changes, policy["periodSeconds"], now, up=False)
        start -= _changed(changes, policy["periodSeconds"], now, up=True)
        if policy["type"] == "Pods":
            limits.append(start - policy["value"])
        else:
            limits.append(int(start * (100 - policy["value"]) / 100))
    return max(limits) if choice == "Min" else min(limits, default=current)

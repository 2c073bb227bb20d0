"""Cells of printer columns that many kinds share: ages, durations, label texts, containers.

Upstream: apimachinery/pkg/util/duration/duration.go, pkg/printers/internalversion/printers.go, apimachinery/pkg/labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from timonel.apis.resource import Column
from timonel.machinery import selectors
from timonel.objects.meta import Object, parse_time

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


def human_duration(seconds: float) -> str:
    """At most two units, the coarser the longer: `45s`, `3m12s`, `26h`, `3d4h`, `2y17d`."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    for limit, unit, letter, rest, rest_letter in _STEPS:
        if total < limit:
            left = total % unit // rest if rest else 0
            return f"{total // unit}{letter}" + (f"{left}{rest_letter}" if left else "")
    return f"{total // YEAR}y"


# (below, unit, its letter, unit of the rest or 0, its letter)
_STEPS = (
    (2 * MINUTE, 1, "s", 0, ""),
    (10 * MINUTE, MINUTE, "m", 1, "s"),
    (3 * HOUR, MINUTE, "m", 0, ""),
    (8 * HOUR, HOUR, "h", MINUTE, "m"),
    (2 * DAY, HOUR, "h", 0, ""),
    (8 * DAY, DAY, "d", HOUR, "h"),
    (2 * YEAR, DAY, "d", 0, ""),
    (8 * YEAR, YEAR, "y", DAY, "d"),
)


def since(time: str | None, now: float) -> str:
    """How long ago a Time was; `<unknown>` without one."""
    at = parse_time(time)
    return "<unknown>" if at is None else human_duration(now - at)


def age(obj: Object, now: float) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


AGE = Column("Age", age, doc="metadata.creationTimestamp")
CREATED_AT = Column(
    "Created At",
    lambda obj, now: obj["metadata"].get("creationTimestamp"),
    type="date",
    doc="metadata.creationTimestamp",
)


def labels_cell(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def selector_cell(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector as text; `<none>` for an absent or empty one."""
    if selector is None:
        return "<none>"
    return str(selectors.from_label_selector(dict(selector))) or "<none>"


def join_some(items: Iterable[str], limit: int, total: int | None = None) -> str:
    """The first items, and how many more there are."""
    listed = list(items)
    total = len(listed) if total is None else total
    text = ",".join(listed[:limit])
    return text if total <= limit else f"{text} + {total - limit} more..."


def container_names(containers: Iterable[Object] | None) -> str:
    return ",".join(c.get("name", "") for c in containers or ())


def container_images(containers: Iterable[Object] | None) -> str:
    return ",".join(c.get("image", "") for c in containers or ())

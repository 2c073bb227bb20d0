"""Status conditions as values: find, set with the right transition time, remove."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timonel.objects.meta import format_time

Condition = dict[str, Any]


def find(conditions: Iterable[Condition] | None, type_: str) -> Condition | None:
    return next((c for c in conditions or () if c["type"] == type_), None)


def is_true(conditions: Iterable[Condition] | None, type_: str) -> bool:
    found = find(conditions, type_)
    return found is not None and found["status"] == "True"


def make(type_: str, status: str, reason: str, message: str, now: float, **extra: Any) -> Condition:
    return {
        "type": type_,
        "status": status,
        "lastTransitionTime": format_time(now),
        **extra,
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
    }


def patch(known: Iterable[Condition] | None, new: Condition) -> dict[str, Any]:
    """What a strategic patch of an object says to put one condition, and to leave those alone that others keep."""
    found = next(c for c in put(known, new) if c["type"] == new["type"])
    return {"status": {"conditions": [found]}}


def put(conditions: Iterable[Condition] | None, new: Condition, *, keep_same: bool = True) -> list[Condition]:
    """The conditions with `new` in the place of its type, at the end as upstream does.

    With the same status the transition time stays; with the same status and reason too nothing changes (`keep_same`).
    """
    old = list(conditions or ())
    current = find(old, new["type"])
    if current is not None:
        same = current["status"] == new["status"]
        if same and keep_same and current.get("reason") == new.get("reason"):
            return old
        if same and "lastTransitionTime" in current:
            new = {**new, "lastTransitionTime": current["lastTransitionTime"]}
    return [*(c for c in old if c["type"] != new["type"]), new]


def drop(conditions: Iterable[Condition] | None, type_: str) -> list[Condition]:
    return [c for c in conditions or () if c["type"] != type_]

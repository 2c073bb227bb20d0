"""Whether tolerations cover a taint. Upstream: api/core/v1/toleration.go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Taint = tuple[str, str, str]  # key, value, effect


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Taint) -> bool:
    return any(_covers(t, taint) for t in tolerations)


def _covers(toleration: Mapping[str, Any], taint: Taint) -> bool:
    key, value, effect = taint
    if toleration.get("effect") and toleration["effect"] != effect:
        return False
    if toleration.get("key") and toleration["key"] != key:
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.get("value", "") == value)
        case "Gt" | "Lt" as operator:
            return _compares(value, toleration.get("value", ""), operator)
    return False


def _compares(taint: str, toleration: str, operator: str) -> bool:
    try:
        left, right = int(taint), int(toleration)
    except ValueError:
        return False
    return left > right if operator == "Gt" else left < right

"""Lists as sets: contains, equivalent, intersects.

Upstream: cel-go ext/sets.go.
"""

from __future__ import annotations

from typing import Any

from timonel.machinery.cel.functions import Overload, overload
from timonel.machinery.cel.types import BOOL, list_of, param
from timonel.machinery.cel.values import contains

_A = param("A")


def includes(values: list[Any], wanted: list[Any]) -> bool:
    return all(contains(one, values) for one in wanted)


def equivalent(left: list[Any], right: list[Any]) -> bool:
    return includes(left, right) and includes(right, left)


def intersects(left: list[Any], right: list[Any]) -> bool:
    return any(contains(one, right) for one in left)


FUNCTIONS: tuple[Overload, ...] = (
    overload("list_sets_contains_list", "sets.contains", (list_of(_A), list_of(_A)), BOOL, includes),
    overload("list_sets_equivalent_list", "sets.equivalent", (list_of(_A), list_of(_A)), BOOL, equivalent),
    overload("list_sets_intersects_list", "sets.intersects", (list_of(_A), list_of(_A)), BOOL, intersects),
)

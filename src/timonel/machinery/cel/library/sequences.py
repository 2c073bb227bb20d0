"""Lists as values to work on: slice, flatten, distinct, reverse, sort, sortBy, lists.range.

Upstream: cel-go ext/lists.go (version 3).
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from timonel.machinery.cel import operators
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    list_of,
    param,
)
from timonel.machinery.cel.values import equals, type_name

_A = param("A")
_LARGEST_RANGE = 1_000_000
_COMPARABLE = (
    ("int", INT),
    ("uint", UINT),
    ("double", DOUBLE),
    ("bool", BOOL),
    ("duration", DURATION),
    ("timestamp", TIMESTAMP),
    ("string", STRING),
    ("bytes", BYTES),
)


def slice_of(values: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(
            f"cannot slice({start}, {end}), start index must be less than or equal to end index"
        )
    if len(values) < end:
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(values)}")
    return list(values[start:end])


def flatten(values: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    made: list[Any] = []
    for value in values:
        if isinstance(value, (list, tuple)) and depth > 0:
            made.extend(flatten(list(value), min(depth, 200) - 1))
        else:
            made.append(value)
    return made


def distinct(values: list[Any]) -> list[Any]:
    made: list[Any] = []
    for value in values:
        if not any(equals(value, one) for one in made):
            made.append(value)
    return made


def number_range(count: int) -> list[int]:
    if count > _LARGEST_RANGE:
        raise EvaluationError(f"lists.range({count}) is too large")
    return list(range(count))


def sort_by_keys(values: list[Any], keys: list[Any]) -> list[Any]:
    if not keys:
        return list(values)
    name = type_name(keys[0])
    if any(type_name(key) != name for key in keys):
        raise EvaluationError("list elements must have the same type")
    ordered = sorted(zip(keys, range(len(keys)), strict=True), key=cmp_to_key(_compare_first))
    return [values[index] for _, index in ordered]


def _compare_first(one: tuple[Any, int], other: tuple[Any, int]) -> int:
    left, right = one[0], other[0]
    if operators.less(left, right):
        return -1
    return 1 if operators.less(right, left) else 0


def sort(values: list[Any]) -> list[Any]:
    return sort_by_keys(values, values)


FUNCTIONS: tuple[Overload, ...] = (
    member("list_slice", "slice", (list_of(_A), INT, INT), list_of(_A), slice_of),
    member("list_flatten", "flatten", (list_of(list_of(_A)),), list_of(_A), flatten),
    member("list_flatten_int", "flatten", (list_of(DYN), INT), list_of(DYN), flatten),
    member("list_distinct", "distinct", (list_of(_A),), list_of(_A), distinct),
    member("list_reverse", "reverse", (list_of(_A),), list_of(_A), lambda values: list(values[::-1])),
    overload("lists_range", "lists.range", (INT,), list_of(INT), number_range),
    *(member(f"list_{name}_sort", "sort", (list_of(of),), list_of(of), sort) for name, of in _COMPARABLE),
    *(
        member(
            f"list_{name}_sortByAssociatedKeys",
            "@sortByAssociatedKeys",
            (list_of(_A), list_of(of)),
            list_of(_A),
            sort_by_keys,
        )
        for name, of in _COMPARABLE
    ),
)

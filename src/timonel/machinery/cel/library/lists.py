"""Lists: order, sums, extremes, positions.

Upstream: apiserver/pkg/cel/library/lists.go.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from timonel.machinery.cel import operators
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member
from timonel.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    param,
)
from timonel.machinery.cel.values import Duration, UInt, equals

_A = param("A")
_SUMMABLE: tuple[tuple[str, Type, Any], ...] = (
    ("int", INT, 0),
    ("uint", UINT, UInt(0)),
    ("double", DOUBLE, 0.0),
    ("duration", DURATION, Duration(0)),
)
_COMPARABLE: tuple[tuple[str, Type], ...] = (
    ("int", INT),
    ("uint", UINT),
    ("double", DOUBLE),
    ("bool", BOOL),
    ("duration", DURATION),
    ("timestamp", TIMESTAMP),
    ("string", STRING),
    ("bytes", BYTES),
)


def is_sorted(values: list[Any]) -> bool:
    return all(operators.less_equal(one, following) for one, following in pairwise(values))


def _summer(zero: Any) -> Callable[[list[Any]], Any]:
    def total(values: list[Any]) -> Any:
        result = zero
        for value in values:
            result = operators.add(result, value)
        return result

    return total


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> Callable[[list[Any]], Any]:
    def pick(values: list[Any]) -> Any:
        if not values:
            raise EvaluationError(f"{name} called on empty list")
        result = values[0]
        for value in values[1:]:
            if better(value, result):
                result = value
        return result

    return pick


def index_of(values: list[Any], wanted: Any) -> int:
    return next((at for at, value in enumerate(values) if equals(value, wanted)), -1)


def last_index_of(values: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(values) - 1, -1, -1) if equals(values[at], wanted)), -1)


_smallest = _extreme("min", operators.less)
_largest = _extreme("max", operators.greater)

FUNCTIONS: tuple[Overload, ...] = (
    *(
        member(f"list_{name}_is_sorted_bool", "isSorted", (list_of(of),), BOOL, is_sorted)
        for name, of in _COMPARABLE
    ),
    *(
        member(f"list_{name}_sum_{name}", "sum", (list_of(of),), of, _summer(zero))
        for name, of, zero in _SUMMABLE
    ),
    *(member(f"list_{name}_max_{name}", "max", (list_of(of),), of, _largest) for name, of in _COMPARABLE),
    *(member(f"list_{name}_min_{name}", "min", (list_of(of),), of, _smallest) for name, of in _COMPARABLE),
    member("list_a_index_of_int", "indexOf", (list_of(_A), _A), INT, index_of),
    member("list_a_last_index_of_int", "lastIndexOf", (list_of(_A), _A), INT, last_index_of),
)

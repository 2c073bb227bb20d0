"""Arithmetic and indexing over values, with CEL's errors; and the overloads of all operators.

The compiler writes out what it can when types are known, and calls these otherwise.

Upstream: cel-go common/types/{int,uint,double,overflow}.go, common/stdlib/standard.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from timonel.machinery.cel import types
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, overload
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
    map_of,
    optional_of,
    param,
)
from timonel.machinery.cel.values import (
    INT_MAX,
    INT_MIN,
    MISSING,
    NO_OVERLOAD,
    NOTHING,
    UINT_MAX,
    Duration,
    Optional,
    Timestamp,
    UInt,
    contains,
    equals,
    is_less,
    lookup,
    type_name,
)


def checked_int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def checked_uint(value: int) -> UInt:
    if 0 <= value <= UINT_MAX:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


def _is_int(value: Any) -> bool:
    return type(value) is int


def add(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is int and other is int:
        return checked_int(left + right)
    if kind is other and kind in (str, bytes, float):
        return left + right
    if kind is UInt and other is UInt:
        return checked_uint(int(left) + int(right))
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return [*left, *right]
    if kind is Duration and other is Duration:
        return Duration(left.nanos + right.nanos)
    if kind is Timestamp and other is Duration:
        return Timestamp(left.nanos + right.nanos, left.offset)
    if kind is Duration and other is Timestamp:
        return Timestamp(left.nanos + right.nanos, right.offset)
    raise EvaluationError(NO_OVERLOAD)


def subtract(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is int and other is int:
        return checked_int(left - right)
    if kind is float and other is float:
        return left - right
    if kind is UInt and other is UInt:
        return checked_uint(int(left) - int(right))
    if kind is Duration and other is Duration:
        return Duration(left.nanos - right.nanos)
    if kind is Timestamp and other is Duration:
        return Timestamp(left.nanos - right.nanos, left.offset)
    if kind is Timestamp and other is Timestamp:
        return Duration(left.nanos - right.nanos)
    raise EvaluationError(NO_OVERLOAD)


def multiply(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is int and other is int:
        return checked_int(left * right)
    if kind is float and other is float:
        return left * right
    if kind is UInt and other is UInt:
        return checked_uint(int(left) * int(right))
    raise EvaluationError(NO_OVERLOAD)


def divide(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is float and other is float:
        if right != 0:
            return left / right
        if left == 0 or math.isnan(left):
            return math.nan
        return math.copysign(math.inf, left) * math.copysign(1.0, right)
    if kind is not other or kind not in (int, UInt):
        raise EvaluationError(NO_OVERLOAD)
    if right == 0:
        raise EvaluationError("division by zero")
    if kind is UInt:
        return UInt(int(left) // int(right))
    quotient = abs(left) // abs(right)
    return checked_int(quotient if (left < 0) == (right < 0) else -quotient)


def modulo(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right) or kind not in (int, UInt):
        raise EvaluationError(NO_OVERLOAD)
    if right == 0:
        raise EvaluationError("modulus by zero")
    if kind is UInt:
        return UInt(int(left) % int(right))
    if left == INT_MIN and right == -1:
        raise EvaluationError("integer overflow")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def negate(value: Any) -> Any:
    kind = type(value)
    if kind is int:
        return checked_int(-value)
    if kind is float:
        return -value
    if kind is Duration:
        return Duration(-value.nanos)
    raise EvaluationError(NO_OVERLOAD)


def invert(value: Any) -> bool:
    if value is True:
        return False
    if value is False:
        return True
    raise EvaluationError(NO_OVERLOAD)


def key_text(key: Any) -> str:
    """A key as messages print it."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def select(value: Any, field: str) -> Any:
    """`value.field` of a value whose type is not known."""
    if isinstance(value, Mapping):
        try:
            return value[field]
        except KeyError:
            raise EvaluationError(f"no such key: {field}") from None
    if isinstance(value, Optional):
        return optional_select(value, field)
    raise EvaluationError(f"no such key: {field}")


def has(value: Any, field: str) -> bool:
    """What is no map has no fields (cel-go interpreter/attributes.go, refQualify)."""
    if isinstance(value, Mapping):
        return field in value
    if isinstance(value, Optional):
        return value is not NOTHING and has(value.value, field)
    return False


def optional_select(value: Any, field: Any) -> Optional:
    """`value.?field` and `value[?field]`: optional.none() where there is nothing."""
    if isinstance(value, Optional):
        return NOTHING if value is NOTHING else optional_select(value.value, field)
    if isinstance(value, Mapping):
        found = lookup(value, field)
        return NOTHING if found is MISSING else Optional(found)
    if isinstance(value, (list, tuple)):
        at = _position(field)
        return Optional(value[at]) if 0 <= at < len(value) else NOTHING
    return NOTHING


def _position(index: Any) -> int:
    if isinstance(index, bool) or not isinstance(index, (int, float)):
        raise EvaluationError(f"unsupported index type '{type_name(index)}' in list")
    if isinstance(index, float) and not index.is_integer():
        raise EvaluationError(f"unsupported index value {index} in list")
    return int(index)


def index(value: Any, key: Any) -> Any:
    """`value[key]`."""
    if isinstance(value, Mapping):
        found = lookup(value, key)
        if found is MISSING:
            raise EvaluationError(f"no such key: {key_text(key)}")
        return found
    if isinstance(value, (list, tuple)):
        at = _position(key)
        if 0 <= at < len(value):
            return value[at]
        raise EvaluationError(f"index out of bounds: {at}")
    if isinstance(value, Optional):
        return optional_select(value, key)
    raise EvaluationError(f"no such key: {key_text(key)}")


def less(left: Any, right: Any) -> bool:
    return left < right if type(left) is type(right) is int else is_less(left, right)


def less_equal(left: Any, right: Any) -> bool:
    return left <= right if type(left) is type(right) is int else is_less(left, right, or_equal=True)


def greater(left: Any, right: Any) -> bool:
    return less(right, left)


def greater_equal(left: Any, right: Any) -> bool:
    return less_equal(right, left)


def differs(left: Any, right: Any) -> bool:
    return not equals(left, right)


_A, _B = param("A"), param("B")


def _unused(*args: Any) -> Any:
    raise EvaluationError(NO_OVERLOAD)


def _relations() -> list[Overload]:
    """`<` and its kin: over one type, and over two numeric types."""
    made = []
    numbers: tuple[tuple[str, Type], ...] = (("int64", INT), ("uint64", UINT), ("double", DOUBLE))
    others: tuple[tuple[str, Type], ...] = (
        ("bool", BOOL),
        ("string", STRING),
        ("bytes", BYTES),
        ("timestamp", TIMESTAMP),
        ("duration", DURATION),
    )
    for word, function, run in (
        ("less", "_<_", less),
        ("less_equals", "_<=_", less_equal),
        ("greater", "_>_", greater),
        ("greater_equals", "_>=_", greater_equal),
    ):
        for name, of in (*numbers, *others):
            made.append(overload(f"{word}_{name}", function, (of, of), BOOL, run))
        for name, of in numbers:
            for other, another in numbers:
                if of is not another:
                    made.append(overload(f"{word}_{name}_{other}", function, (of, another), BOOL, run))
    return made


FUNCTIONS: tuple[Overload, ...] = (
    overload("conditional", "_?_:_", (BOOL, _A, _A), _A, _unused),
    overload("logical_and", "_&&_", (BOOL, BOOL), BOOL, _unused),
    overload("logical_or", "_||_", (BOOL, BOOL), BOOL, _unused),
    overload("logical_not", "!_", (BOOL,), BOOL, invert),
    overload("not_strictly_false", "@not_strictly_false", (BOOL,), BOOL, _unused),
    overload("equals", "_==_", (_A, _A), BOOL, equals),
    overload("not_equals", "_!=_", (_A, _A), BOOL, differs),
    *_relations(),
    overload("add_bytes", "_+_", (BYTES, BYTES), BYTES, add),
    overload("add_double", "_+_", (DOUBLE, DOUBLE), DOUBLE, add),
    overload("add_duration_duration", "_+_", (DURATION, DURATION), DURATION, add),
    overload("add_duration_timestamp", "_+_", (DURATION, TIMESTAMP), TIMESTAMP, add),
    overload("add_timestamp_duration", "_+_", (TIMESTAMP, DURATION), TIMESTAMP, add),
    overload("add_int64", "_+_", (INT, INT), INT, add),
    overload("add_list", "_+_", (list_of(_A), list_of(_A)), list_of(_A), add),
    overload("add_string", "_+_", (STRING, STRING), STRING, add),
    overload("add_uint64", "_+_", (UINT, UINT), UINT, add),
    overload("subtract_double", "_-_", (DOUBLE, DOUBLE), DOUBLE, subtract),
    overload("subtract_duration_duration", "_-_", (DURATION, DURATION), DURATION, subtract),
    overload("subtract_int64", "_-_", (INT, INT), INT, subtract),
    overload("subtract_timestamp_duration", "_-_", (TIMESTAMP, DURATION), TIMESTAMP, subtract),
    overload("subtract_timestamp_timestamp", "_-_", (TIMESTAMP, TIMESTAMP), DURATION, subtract),
    overload("subtract_uint64", "_-_", (UINT, UINT), UINT, subtract),
    overload("multiply_double", "_*_", (DOUBLE, DOUBLE), DOUBLE, multiply),
    overload("multiply_int64", "_*_", (INT, INT), INT, multiply),
    overload("multiply_uint64", "_*_", (UINT, UINT), UINT, multiply),
    overload("divide_double", "_/_", (DOUBLE, DOUBLE), DOUBLE, divide),
    overload("divide_int64", "_/_", (INT, INT), INT, divide),
    overload("divide_uint64", "_/_", (UINT, UINT), UINT, divide),
    overload("modulo_int64", "_%_", (INT, INT), INT, modulo),
    overload("modulo_uint64", "_%_", (UINT, UINT), UINT, modulo),
    overload("negate_double", "-_", (DOUBLE,), DOUBLE, negate),
    overload("negate_int64", "-_", (INT,), INT, negate),
    overload("index_list", "_[_]", (list_of(_A), INT), _A, index),
    overload("index_map", "_[_]", (map_of(_A, _B), _A), _B, index),
    overload("in_list", "@in", (_A, list_of(_A)), BOOL, contains),
    overload("in_map", "@in", (_A, map_of(_A, _B)), BOOL, contains),
    overload("list_optindex_optional_int", "_[?_]", (list_of(_A), INT), optional_of(_A), optional_select),
    overload(
        "optional_list_optindex_optional_int",
        "_[?_]",
        (optional_of(list_of(_A)), INT),
        optional_of(_A),
        optional_select,
    ),
    overload("map_optindex_optional_value", "_[?_]", (map_of(_A, _B), _A), optional_of(_B), optional_select),
    overload(
        "optional_map_optindex_optional_value",
        "_[?_]",
        (optional_of(map_of(_A, _B)), _A),
        optional_of(_B),
        optional_select,
    ),
    overload("optional_list_index_int", "_[_]", (optional_of(list_of(_A)), INT), optional_of(_A), index),
    overload("optional_map_index_value", "_[_]", (optional_of(map_of(_A, _B)), _A), optional_of(_B), index),
    overload(
        "cel_map_insert_map", "cel.@mapInsert", (map_of(_A, _B), map_of(_A, _B)), map_of(_A, _B), _unused
    ),
    overload("cel_map_insert_key_value", "cel.@mapInsert", (map_of(_A, _B), _A, _B), map_of(_A, _B), _unused),
)

DYN_OVERLOAD = overload("to_dyn", "dyn", (_A,), types.DYN, lambda value: value)

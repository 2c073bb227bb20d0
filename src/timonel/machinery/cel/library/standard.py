"""CEL's own functions: sizes, conversions, text, times, and optional values.

Upstream: cel-go common/stdlib/standard.go, common/types (conversions), cel/library.go (optional types).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from timonel.machinery.cel import times
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.operators import DYN_OVERLOAD, checked_int, checked_uint
from timonel.machinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    list_of,
    map_of,
    optional_of,
    param,
    type_of,
)
from timonel.machinery.cel.values import (
    INT_MAX,
    NO_OVERLOAD,
    NOTHING,
    UINT_MAX,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
    type_name,
)

_A, _B = param("A"), param("B")
_MAX_TIMESTAMP_SECONDS = 253402300799
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def not_convertible(value: Any, target: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from '{type_name(value)}' to '{target}'")


def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise not_convertible(value, "bool")


def _whole(value: float) -> int | None:
    return None if math.isnan(value) or math.isinf(value) else int(value)


def _digits(text: str) -> int | None:
    """Go's ParseInt in base 10: no blanks, no underscores."""
    bare = text[1:] if text[:1] in ("+", "-") else text
    if not bare.isascii() or not bare.isdigit() or len(bare) > 100:
        return None
    return int(text)


def to_int(value: Any) -> int:
    if isinstance(value, str):
        number = _digits(value)
        if number is None or not -INT_MAX - 1 <= number <= INT_MAX:
            raise not_convertible(value, "int")
        return number
    if isinstance(value, Timestamp):
        return value.nanos // times.SECOND
    if isinstance(value, Duration):
        return value.nanos
    if isinstance(value, float):
        number = _whole(value)
        if number is None or not -(1 << 63) < number < 1 << 63:
            raise EvaluationError("integer overflow")
        return number
    return checked_int(int(value))


def to_uint(value: Any) -> UInt:
    if isinstance(value, str):
        number = None if value[:1] in ("+", "-") else _digits(value)
        if number is None or number > UINT_MAX:
            raise not_convertible(value, "uint")
        return UInt(number)
    if isinstance(value, float):
        number = _whole(value)
        if number is None or value < 0 or number > UINT_MAX:
            raise EvaluationError("unsigned integer overflow")
        return UInt(number)
    return checked_uint(int(value))


def to_double(value: Any) -> float:
    if isinstance(value, str):
        text = value.strip()
        if text != value or "_" in value or not value:
            raise not_convertible(value, "double")
        try:
            return float(value)
        except ValueError:
            raise not_convertible(value, "double") from None
    return float(value)


def to_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def double_text(value: float) -> str:
    """Go's shortest `%g`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, exponent = f"{value!r}e".split("e")[:2] if "e" in repr(value) else (repr(value), "")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return f"{sign}0"
    point = len(whole) + int(exponent or "0") - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    scale = point - 1
    if scale < -4 or scale >= 6:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'-' if scale < 0 else '+'}{abs(scale):02d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def to_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, Timestamp):
        return times.format_timestamp(value)
    if isinstance(value, Duration):
        return times.format_duration(value)
    if isinstance(value, int):
        return str(int(value))
    raise EvaluationError(NO_OVERLOAD)


def to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, int):
        return Timestamp(value * times.SECOND)
    parsed = times.parse_timestamp(value)
    if parsed is None:
        raise not_convertible(value, "google.protobuf.Timestamp")
    return parsed


def to_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, int):
        return Duration(value)
    parsed = times.parse_duration(value)
    if parsed is None:
        raise not_convertible(value, "google.protobuf.Duration")
    return parsed


def type_value(value: Any) -> TypeValue:
    return TypeValue(type_name(value))


def matches(text: str, pattern: str) -> bool:
    from timonel.machinery.cel.library.regex import is_found

    return is_found(pattern)(text)


def _conversions() -> list[Overload]:
    made = []
    rows = (
        ("bool", BOOL, to_bool, (("bool", BOOL), ("string", STRING))),
        ("bytes", BYTES, to_bytes, (("bytes", BYTES), ("string", STRING))),
        (
            "double",
            DOUBLE,
            to_double,
            (("double", DOUBLE), ("int64", INT), ("string", STRING), ("uint64", UINT)),
        ),
        ("duration", DURATION, to_duration, (("duration", DURATION), ("int64", INT), ("string", STRING))),
        (
            "int64",
            INT,
            to_int,
            (
                ("int64", INT),
                ("double", DOUBLE),
                ("duration", DURATION),
                ("string", STRING),
                ("timestamp", TIMESTAMP),
                ("uint64", UINT),
            ),
        ),
        (
            "string",
            STRING,
            to_string,
            (
                ("string", STRING),
                ("bool", BOOL),
                ("bytes", BYTES),
                ("double", DOUBLE),
                ("duration", DURATION),
                ("int64", INT),
                ("timestamp", TIMESTAMP),
                ("uint64", UINT),
            ),
        ),
        (
            "timestamp",
            TIMESTAMP,
            to_timestamp,
            (("timestamp", TIMESTAMP), ("int64", INT), ("string", STRING)),
        ),
        (
            "uint64",
            UINT,
            to_uint,
            (("uint64", UINT), ("double", DOUBLE), ("int64", INT), ("string", STRING)),
        ),
    )
    for name, result, run, sources in rows:
        function = name.removesuffix("64")
        for source, of in sources:
            made.append(overload(f"{source}_to_{name}", function, (of,), result, run))
    return made


def _getters() -> list[Overload]:
    made = []
    for function, word, run in (
        ("getFullYear", "year", lambda at: at.year),
        ("getMonth", "month", lambda at: at.month - 1),
        ("getDayOfYear", "day_of_year", lambda at: at.timetuple().tm_yday - 1),
        ("getDayOfMonth", "day_of_month", lambda at: at.day - 1),
        ("getDate", "day_of_month_1_based", lambda at: at.day),
        ("getDayOfWeek", "day_of_week", lambda at: at.isoweekday() % 7),
        ("getHours", "hours", lambda at: at.hour),
        ("getMinutes", "minutes", lambda at: at.minute),
        ("getSeconds", "seconds", lambda at: at.second),
    ):
        of_zone = _in_zone(run)
        made.append(member(f"timestamp_to_{word}", function, (TIMESTAMP,), INT, of_zone))
        made.append(member(f"timestamp_to_{word}_with_tz", function, (TIMESTAMP, STRING), INT, of_zone))
    return made


def _in_zone(part: Any) -> Any:
    return lambda moment, zone="": part(times.local(moment, zone))


def _milliseconds(moment: Timestamp, zone: str = "") -> int:
    if zone:
        times.zone(zone)
    return moment.nanos % times.SECOND // 10**6


def _toward_zero(value: int, unit: int) -> int:
    return value // unit if value >= 0 else -(-value // unit)


def _value(optional: Optional) -> Any:
    if optional is NOTHING:
        raise EvaluationError("optional.none() dereference")
    return optional.value


def _is_zero(value: Any) -> bool:
    if value is None or value is False:
        return True
    if isinstance(value, (str, bytes, list, tuple, Mapping, int, float)):
        return not value
    if isinstance(value, Duration):
        return value.nanos == 0
    return value is NOTHING


def _non_zero(value: Any) -> Optional:
    return NOTHING if _is_zero(value) else Optional(value)


def _unwrap(values: list[Optional]) -> list[Any]:
    return [one.value for one in values if one is not NOTHING]


FUNCTIONS: tuple[Overload, ...] = (
    DYN_OVERLOAD,
    overload("type", "type", (_A,), type_of(_A), type_value),
    *(
        made
        for name, of in (
            ("string", STRING),
            ("bytes", BYTES),
            ("list", list_of(_A)),
            ("map", map_of(_A, _B)),
        )
        for made in (
            overload(f"size_{name}", "size", (of,), INT, len),
            member(f"{name}_size", "size", (of,), INT, len),
        )
    ),
    *_conversions(),
    member("contains_string", "contains", (STRING, STRING), BOOL, lambda text, part: part in text),
    member("ends_with_string", "endsWith", (STRING, STRING), BOOL, str.endswith),
    member("starts_with_string", "startsWith", (STRING, STRING), BOOL, str.startswith),
    overload("matches", "matches", (STRING, STRING), BOOL, matches),
    member("matches_string", "matches", (STRING, STRING), BOOL, matches),
    *_getters(),
    member("timestamp_to_milliseconds", "getMilliseconds", (TIMESTAMP,), INT, _milliseconds),
    member("timestamp_to_milliseconds_with_tz", "getMilliseconds", (TIMESTAMP, STRING), INT, _milliseconds),
    *(
        member(f"duration_to_{word}", function, (DURATION,), INT, run)
        for function, word, run in (
            ("getHours", "hours", lambda of: _toward_zero(of.nanos, 3600 * times.SECOND)),
            ("getMinutes", "minutes", lambda of: _toward_zero(of.nanos, 60 * times.SECOND)),
            ("getSeconds", "seconds", lambda of: _toward_zero(of.nanos, times.SECOND)),
            ("getMilliseconds", "milliseconds", lambda of: _toward_zero(of.nanos, 10**6)),
        )
    ),
    overload("optional_of", "optional.of", (_A,), optional_of(_A), Optional),
    overload("optional_ofNonZeroValue", "optional.ofNonZeroValue", (_A,), optional_of(_A), _non_zero),
    overload("optional_none", "optional.none", (), optional_of(_A), lambda: NOTHING),
    member("optional_value", "value", (optional_of(_A),), _A, _value),
    member("optional_hasValue", "hasValue", (optional_of(_A),), BOOL, lambda of: of is not NOTHING),
    member(
        "optional_or_optional",
        "or",
        (optional_of(_A), optional_of(_A)),
        optional_of(_A),
        lambda of, other: other if of is NOTHING else of,
    ),
    member(
        "optional_orValue_value",
        "orValue",
        (optional_of(_A), _A),
        _A,
        lambda of, other: other if of is NOTHING else of.value,
    ),
    overload("optional_unwrap", "optional.unwrap", (list_of(optional_of(_A)),), list_of(_A), _unwrap),
    member("optional_unwrapOpt", "unwrapOpt", (list_of(optional_of(_A)),), list_of(_A), _unwrap),
    member(
        "list_first", "first", (list_of(_A),), optional_of(_A), lambda of: Optional(of[0]) if of else NOTHING
    ),
    member(
        "list_last", "last", (list_of(_A),), optional_of(_A), lambda of: Optional(of[-1]) if of else NOTHING
    ),
)

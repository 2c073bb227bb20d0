"""Text functions beyond the standard ones, in code points; `format` and `strings.quote`.

Upstream: cel-go ext/strings.go (version 2), ext/formatting.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from timonel.machinery.cel import times
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member, overload
from timonel.machinery.cel.library.standard import double_text
from timonel.machinery.cel.types import DYN, INT, STRING, list_of
from timonel.machinery.cel.values import Duration, Timestamp, TypeValue, type_name

_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
MAX_PRECISION = 1000


def _out_of_range(index: int) -> EvaluationError:
    return EvaluationError(f"index out of range: {index}")


def char_at(text: str, index: int) -> str:
    if index < 0 or index > len(text):
        raise _out_of_range(index)
    return text[index : index + 1]


def index_of(text: str, part: str, offset: int = 0) -> int:
    if part == "":
        return offset
    if offset < 0:
        raise _out_of_range(offset)
    if offset >= len(text):
        return -1
    return text.find(part, offset)


def last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if offset is None:
        return text.rfind(part) if part else len(text)
    if part == "":
        return offset
    if offset < 0:
        raise _out_of_range(offset)
    if offset >= len(text):
        return -1
    return text.rfind(part, 0, offset + len(part))


def join(parts: list[str], separator: str = "") -> str:
    for part in parts:
        if not isinstance(part, str):
            raise EvaluationError(f"no such overload: join({type_name(part)})")
    return separator.join(parts)


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text if count == 0 else text.replace(old, new, count)


def split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if count == 1:
        return [text]
    if separator == "":
        letters = list(text)
        if count < 0 or len(letters) <= count:
            return letters
        return [*letters[: count - 1], "".join(letters[count - 1 :])]
    return text.split(separator, count - 1 if count > 0 else -1)


def substring(text: str, start: int, end: int | None = None) -> str:
    size = len(text)
    if end is None:
        if start < 0 or start > size:
            raise _out_of_range(start)
        return text[start:]
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    if start < 0 or start > size:
        raise _out_of_range(start)
    if end < 0 or end > size:
        raise _out_of_range(end)
    return text[start:end]


_QUOTED = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def quote(text: str) -> str:
    return f'"{"".join(_QUOTED.get(char, char) for char in text)}"'


_clause = re.compile(r"%(%|(?:\.(\d+))?([sdfeboxX])|.|$)", re.DOTALL)


def format_text(pattern: str, args: list[Any]) -> str:
    """`'%s has %d'.format([name, count])`."""
    used = 0

    def clause(found: re.Match[str]) -> str:
        nonlocal used
        if found[1] == "%":
            return "%"
        if found[3] is None:
            raise EvaluationError(
                f'could not parse formatting clause: unrecognized formatting clause "{found[1]}"'
            )
        if used >= len(args):
            raise EvaluationError(f"index {used} out of range")
        value = args[used]
        used += 1
        precision = 6 if found[2] is None else int(found[2][:9])
        if precision > MAX_PRECISION:
            raise EvaluationError(f"precision {precision} exceeds maximum {MAX_PRECISION}")
        return _CLAUSES[found[3]](value, precision)

    return _clause.sub(clause, pattern)


def _string(value: Any, precision: int = 6) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _special(value) or double_text(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Timestamp):
        return times.format_timestamp(value)
    if isinstance(value, Duration):
        return times.format_duration(value)
    if isinstance(value, TypeValue):
        return value.name
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_string, value))}]"
    if isinstance(value, Mapping):
        rows = sorted((_string(key), _string(inner)) for key, inner in value.items())
        return f"{{{', '.join(f'{key}: {inner}' for key, inner in rows)}}}"
    raise _wrong(
        "string clause",
        "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        value,
    )


def _wrong(clause: str, wanted: str, value: Any) -> EvaluationError:
    return EvaluationError(
        f"error during formatting: {clause} can only be used on {wanted}, was given {type_name(value)}"
    )


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return ""


def _decimal(value: Any, precision: int) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong("decimal clause", "integers", value)
    if isinstance(value, float):
        special = _special(value)
        if not special:
            raise _wrong("decimal clause", "integers", value)
        return special
    return str(int(value))


def _float(form: str, name: str) -> Callable[[Any, int], str]:
    def write(value: Any, precision: int) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong(name, "doubles", value)
        return _special(float(value)) or f"{float(value):.{precision}{form}}"

    return write


def _binary(value: Any, precision: int) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if not isinstance(value, int):
        raise _wrong("binary clause", "integers and bools", value)
    return f"{int(value):b}"


def _octal(value: Any, precision: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong("octal clause", "integers", value)
    return f"{int(value):o}"


def _hexadecimal(form: str) -> Callable[[Any, int], str]:
    def write(value: Any, precision: int) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, str, bytes)):
            raise _wrong("hex clause", "integers, byte buffers, and strings", value)
        if isinstance(value, int):
            return f"{int(value):{form}}"
        text = (value.encode() if isinstance(value, str) else value).hex()
        return text.upper() if form == "X" else text

    return write


_CLAUSES: dict[str, Callable[[Any, int], str]] = {
    "s": _string,
    "d": _decimal,
    "f": _float("f", "fixed-point clause"),
    "e": _float("e", "scientific clause"),
    "b": _binary,
    "o": _octal,
    "x": _hexadecimal("x"),
    "X": _hexadecimal("X"),
}

FUNCTIONS: tuple[Overload, ...] = (
    member("string_char_at_int", "charAt", (STRING, INT), STRING, char_at),
    member("string_index_of_string", "indexOf", (STRING, STRING), INT, index_of),
    member("string_index_of_string_int", "indexOf", (STRING, STRING, INT), INT, index_of),
    member("string_last_index_of_string", "lastIndexOf", (STRING, STRING), INT, last_index_of),
    member("string_last_index_of_string_int", "lastIndexOf", (STRING, STRING, INT), INT, last_index_of),
    member("string_lower_ascii", "lowerAscii", (STRING,), STRING, lambda text: text.translate(_LOWER)),
    member("string_upper_ascii", "upperAscii", (STRING,), STRING, lambda text: text.translate(_UPPER)),
    member("string_replace_string_string", "replace", (STRING, STRING, STRING), STRING, replace),
    member("string_replace_string_string_int", "replace", (STRING, STRING, STRING, INT), STRING, replace),
    member("string_split_string", "split", (STRING, STRING), list_of(STRING), split),
    member("string_split_string_int", "split", (STRING, STRING, INT), list_of(STRING), split),
    member("string_substring_int", "substring", (STRING, INT), STRING, substring),
    member("string_substring_int_int", "substring", (STRING, INT, INT), STRING, substring),
    member("string_trim", "trim", (STRING,), STRING, lambda text: text.strip(_SPACE)),
    member("list_join", "join", (list_of(STRING),), STRING, join),
    member("list_join_string", "join", (list_of(STRING), STRING), STRING, join),
    member("string_format", "format", (STRING, list_of(DYN)), STRING, format_text),
    overload("strings_quote", "strings.quote", (STRING,), STRING, quote),
)

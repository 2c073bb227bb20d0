"""Regular expressions: `matches`, `find`, `findAll`, with RE2's meaning.

A pattern is translated to Python's `re` where both mean the same, and refused as RE2 refuses what it does not know
(look-around, back-references). google-re2, which never takes more than linear time, is used where it is installed.

Upstream: apiserver/pkg/cel/library/regex.go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from timonel.machinery.cel import re2
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member
from timonel.machinery.cel.types import INT, STRING, list_of


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:
    """An object with `search` and `finditer`; raises EvaluationError for what is no pattern."""
    try:
        return re2.compile(pattern)
    except re2.BadPattern as wrong:
        raise EvaluationError(str(wrong)) from None


def find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return "" if found is None else str(found[0])


def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    made: list[str] = []
    last = -1
    for found in compiled(pattern).finditer(text):
        if found.end() == last:
            continue  # as Go: no empty match right behind another
        last = found.end()
        made.append(found[0])
        if len(made) == limit:
            break
    return made


FUNCTIONS: tuple[Overload, ...] = (
    member("string_find_string", "find", (STRING, STRING), STRING, find),
    member("string_find_all_string", "findAll", (STRING, STRING), list_of(STRING), find_all),
    member("string_find_all_string_int", "findAll", (STRING, STRING, INT), list_of(STRING), find_all),
)

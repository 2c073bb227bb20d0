"""Regular expressions: `matches`, `find`, `findAll`, with RE2's meaning.

Patterns are read as Go reads them (`timonel.machinery.patterns`).

Upstream: apiserver/pkg/cel/library/regex.go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member
from timonel.machinery.cel.types import INT, STRING, list_of
from timonel.machinery.linear import Pattern
from timonel.machinery.patterns import PatternError, compile_pattern


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Pattern:
    """An object with `search` and `finditer`; raises EvaluationError for what is no pattern."""
    try:
        return compile_pattern(pattern)
    except PatternError as wrong:
        raise EvaluationError(str(wrong)) from None


def is_found(pattern: str) -> Callable[[str], bool]:
    """The test whether a pattern is found in a text."""
    search = compiled(pattern).search
    return lambda text: search(text) is not None


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

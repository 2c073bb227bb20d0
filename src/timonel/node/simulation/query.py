"""The keys of Stages: the part of jq that picks values out of an object. Pure.

    .metadata.deletionTimestamp      .status.conditions.[] | select( .type == "Ready" ) | .status
    .metadata.labels["a.b/c"]        .spec.containers[0].name

`compiled` makes a function from an object to the values that it finds; what is missing or null is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Values = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<op>==|!=|<=|>=|//|[.\[\]()|<>,?]))"""
)
_END = ("end", "")


class Unreadable(Exception):
    """A key that is none, or one of jq's that is not understood here."""


def compiled(text: str) -> Values:
    """Raises Unreadable."""
    parser = _Parser(text)
    values = parser.pipeline()
    if parser.peek() != _END:
        raise parser.error()

    def found(obj: Any) -> Iterator[Any]:
        return (value for value in values(obj) if value is not None)

    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at = text, list(_tokens(text)), 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def error(self) -> Unreadable:
        return Unreadable(f"cannot read {self._text!r} at {self.peek()[1] or 'its end'!r}")

    def _take(self, text: str) -> bool:
        if self.peek() == ("op", text):
            self._at += 1
            return True
        return False

    def _word(self, *words: str) -> str:
        kind, text = self.peek()
        if kind == "name" and text in words:
            self._at += 1
            return text
        return ""

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self.error()

    def pipeline(self) -> Values:
        values = self._alternative()
        while self._take("|"):
            values = _then(values, self._alternative())
        return values

    def _alternative(self) -> Values:
        values = self._logical()
        while self._take("//"):
            values = _otherwise(values, self._logical())
        return values

    def _logical(self) -> Values:
        values = self._comparison()
        while word := self._word("and", "or"):
            values = _both(word, values, self._comparison())
        return values

    def _comparison(self) -> Values:
        left = self._term()
        for operator in ("==", "!=", "<=", ">=", "<", ">"):
            if self._take(operator):
                return _compared(operator, left, self._term())
        return left

    def _term(self) -> Values:
        kind, text = self.peek()
        if kind in ("string", "number"):
            self._at += 1
            return _constant(self._literal(text))
        if word := self._word("true", "false", "null"):
            return _constant(json.loads(word))
        if self._word("select"):
            self._need("(")
            condition = self.pipeline()
            self._need(")")
            return self._path(_selected(condition))
        if self._word("not"):
            return lambda obj: iter((not _truth(obj),))
        if self._word("length"):
            return _length
        if self._take("("):
            inner = self.pipeline()
            self._need(")")
            return self._path(inner)
        if self.peek() != ("op", "."):
            raise self.error()
        return self._path(lambda obj: iter((obj,)))

    def _path(self, values: Values) -> Values:
        while True:
            if self._take("."):
                kind, text = self.peek()
                if kind == "name":
                    self._at += 1
                    values = _then(values, _field(text))
                elif kind == "string":
                    self._at += 1
                    values = _then(values, _field(self._literal(text)))
            elif self._take("["):
                values = _then(values, self._index())
            elif not self._take("?"):
                return values

    def _index(self) -> Values:
        if self._take("]"):
            return _each
        kind, text = self.peek()
        if kind not in ("string", "number"):
            raise self.error()
        self._at += 1
        self._need("]")
        return _field(self._literal(text))

    def _literal(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as e:
            raise Unreadable(f"cannot read {self._text!r} at {text!r}") from e


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise Unreadable(f"cannot read {text!r} at {text[at:].strip()[:1]!r}")
        yield found.lastgroup, found.group(found.lastgroup)
        at = found.end()


def _constant(value: Any) -> Values:
    return lambda obj: iter((value,))


def _field(name: str | int | float) -> Values:
    def values(obj: Any) -> Iterator[Any]:
        if isinstance(name, str):
            yield obj.get(name) if isinstance(obj, dict) else None
        elif isinstance(obj, list) and isinstance(name, int) and -len(obj) <= name < len(obj):
            yield obj[name]

    return values


def _length(obj: Any) -> Iterator[Any]:
    """Of a number its size, as jq; of what has none, nothing."""
    if isinstance(obj, bool):
        return
    if isinstance(obj, int | float):
        yield abs(obj)
    else:
        yield len(obj) if obj is not None else 0


def _each(obj: Any) -> Iterator[Any]:
    if isinstance(obj, list):
        yield from obj
    elif isinstance(obj, dict):
        yield from obj.values()


def _then(first: Values, second: Values) -> Values:
    return lambda obj: (found for value in first(obj) for found in second(value))


def _otherwise(first: Values, second: Values) -> Values:
    def values(obj: Any) -> Iterator[Any]:
        found = [value for value in first(obj) if _truth(value)]
        return iter(found) if found else second(obj)

    return values


def _both(word: str, left: Values, right: Values) -> Values:
    join: Callable[[Iterable[bool]], bool] = all if word == "and" else any
    return lambda obj: iter((join((_any(left(obj)), _any(right(obj)))),))


def _any(values: Iterable[Any]) -> bool:
    return any(map(_truth, values))


def _truth(value: Any) -> bool:
    return value is not None and value is not False


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    ">": lambda a, b: bool(a > b),
    "<=": lambda a, b: bool(a <= b),
    ">=": lambda a, b: bool(a >= b),
}


def _compared(operator: str, left: Values, right: Values) -> Values:
    compare = _COMPARE[operator]

    def values(obj: Any) -> Iterator[Any]:
        for a in left(obj):
            for b in right(obj):
                try:
                    yield compare(a, b)
                except TypeError:
                    yield False

    return values


def _selected(condition: Values) -> Values:
    def values(obj: Any) -> Iterator[Any]:
        if _any(condition(obj)):
            yield obj

    return values

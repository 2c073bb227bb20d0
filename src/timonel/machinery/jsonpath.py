"""JSONPath in the dialect of kubectl and of printer columns.

    .spec.names[0].kind   ['a.b']   [-1]   [1:3]   [0,2]   [*]   .*   ..name   [?(@.type=="Ready")].status

`parse(text)` gives a `Path`; braces around the whole are optional. `Path.find(tree)` gives the values in order; what is
missing is left out. Raises `JsonPathError` for what is no path, and for steps that do not fit the value.

Upstream: client-go/util/jsonpath/{parser,jsonpath}.go.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from timonel.records import dataclass


class JsonPathError(ValueError):
    """A text that is no path, or a path that the value does not have a place for."""


Step = Callable[[Any], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Path:
    text: str
    steps: Sequence[Step]

    def find(self, tree: Any) -> list[Any]:
        values = [tree]
        for step in self.steps:
            values = [found for value in values for found in step(value)]
        return values


def parse(text: str) -> Path:
    stripped = text.strip()
    if stripped.startswith("{") and stripped.endswith("}"):
        stripped = stripped[1:-1]
    return Path(text, tuple(_Reader(stripped).steps()))


def simple(text: str) -> tuple[str, ...]:
    """The field names of a path that has nothing else, as `.spec.replicas`."""
    return tuple(name for name in text.split(".") if name)


# ---- steps


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _wildcard(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _slice(start: int | None, end: int | None, stride: int | None) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if value is None:
            return
        if not isinstance(value, list):
            raise JsonPathError(f"{show(value)} is not array or slice")
        yield from value[start:end:stride]

    return step


def _index(at: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if value is None:
            return
        if not isinstance(value, list):
            raise JsonPathError(f"{show(value)} is not array or slice")
        if not -len(value) <= at < len(value):
            raise JsonPathError(f"array index out of bounds: index {at}, length {len(value)}")
        yield value[at]

    return step


def _union(parts: Sequence[Sequence[Step]]) -> Step:
    paths = [Path("", steps) for steps in parts]

    def step(value: Any) -> Iterator[Any]:
        for path in paths:
            yield from path.find(value)

    return step


def _everything_below(value: Any) -> Iterator[Any]:
    yield value
    for item in _wildcard(value):
        if isinstance(item, (dict, list)):
            yield from _everything_below(item)


_COMPARES: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip


def _filter(left: Path, sign: str, right: Path | None) -> Step:
    def matches(item: Any) -> bool:
        ours = left.find(item)
        if right is None:
            return bool(ours)
        theirs = right.find(item)
        if not ours or not theirs:
            return False
        if len(ours) > 1 or len(theirs) > 1:
            raise JsonPathError("can only compare one element at a time")
        one, two = ours[0], theirs[0]
        if not _comparable(one, two):
            raise JsonPathError("incompatible types for comparison")
        return bool(_COMPARES[sign](one, two))

    def step(value: Any) -> Iterator[Any]:
        if value is None:
            return
        if not isinstance(value, list):
            raise JsonPathError(f"{show(value)} is not array or slice and cannot be filtered")
        yield from (item for item in value if matches(item))

    return step


def _comparable(one: Any, two: Any) -> bool:
    if isinstance(one, bool) or isinstance(two, bool):
        return isinstance(one, bool) and isinstance(two, bool)
    if isinstance(one, str) or isinstance(two, str):
        return isinstance(one, str) and isinstance(two, str)
    return isinstance(one, (int, float)) and isinstance(two, (int, float))


def _literal(value: Any) -> Path:
    return Path("", (lambda _: iter((value,)),))


# ---- reading

_NAME = re.compile(r"(?:\\.|[^\s.\[\](){}|,])+")
_NUMBERS = re.compile(r"(-?\d+)?(:(-?\d+)?(?::(-?\d+)?)?)?$", re.ASCII)
_OPERATION = re.compile(r"(==|!=|<=|>=|<|>)")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def steps(self) -> Iterator[Step]:
        text = self._text
        while self._at < len(text):
            rest = text[self._at :]
            if rest[0] in "@$ ":
                self._at += 1
            elif rest.startswith(".."):
                self._at += 2
                yield _everything_below
                if self._at < len(text) and text[self._at] not in "[":
                    yield self._name()
            elif rest[0] == ".":
                self._at += 1
                if self._at < len(text) and text[self._at] != "[":
                    yield self._name()
            elif rest[0] == "[":
                yield self._bracket()
            elif self._at == 0:
                yield self._name()
            else:
                raise JsonPathError(f"unrecognized character in action: {rest[0]!r}")

    def _name(self) -> Step:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise JsonPathError(f"unexpected {self._text[self._at]!r} in path {self._text!r}")
        self._at = match.end()
        name = re.sub(r"\\(.)", r"\1", match[0])
        return _wildcard if name == "*" else _field(name)

    def _bracket(self) -> Step:
        inner = self._enclosed()
        if inner.startswith("?(") and inner.endswith(")"):
            return _filter_of(inner[2:-1])
        parts = _split(inner)
        if len(parts) > 1:
            return _union([(_selector(part.strip()),) for part in parts])
        return _selector(inner.strip())

    def _enclosed(self) -> str:
        """What stands between the brackets that open here; brackets in quotes and below do not count."""
        depth, at, text = 0, self._at, self._text
        while at < len(text):
            if text[at] in "'\"":
                match = _QUOTED.match(text, at)
                if match is None:
                    raise JsonPathError(f"unterminated quoted string in {text!r}")
                at = match.end()
                continue
            depth += (text[at] == "[") - (text[at] == "]")
            at += 1
            if depth == 0:
                inner = text[self._at + 1 : at - 1]
                self._at = at
                return inner
        raise JsonPathError("unterminated array")


def _split(text: str) -> list[str]:
    """At commas outside of quotes."""
    plain = _QUOTED.sub(lambda m: "_" * len(m[0]), text)
    cuts = [-1, *(i for i, c in enumerate(plain) if c == ","), len(text)]
    return [text[a + 1 : b] for a, b in itertools.pairwise(cuts)]


def _selector(text: str) -> Step:
    if text == "*":
        return _wildcard
    if _QUOTED.fullmatch(text):
        return _field(_unquoted(text))
    match = _NUMBERS.match(text)
    if match is None or not text:
        raise JsonPathError(f"invalid array index {text}")
    start, is_slice, end, stride = match.groups()
    if not is_slice:
        return _index(int(start))
    numbers = [int(n) if n else None for n in (start, end, stride)]
    if numbers[2] is not None and numbers[2] <= 0:
        raise JsonPathError("step must be > 0")
    return _slice(*numbers)


def _filter_of(text: str) -> Step:
    plain = _QUOTED.sub(lambda m: "_" * len(m[0]), text)
    match = _OPERATION.search(plain)
    if match is None:
        return _filter(parse(text), "exists", None)
    return _filter(_operand(text[: match.start()]), match[0], _operand(text[match.end() :]))


def _operand(text: str) -> Path:
    text = text.strip()
    if _QUOTED.fullmatch(text):
        return _literal(_unquoted(text))
    if text in ("true", "false"):
        return _literal(text == "true")
    try:
        return _literal(orjson.loads(text))
    except orjson.JSONDecodeError:
        return parse(text)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


# ---- printing


def show(value: Any) -> str:
    """A found value as text: objects and lists as JSON, everything else as Go prints it."""
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _shown_float(value)
    return "<nil>" if value is None else str(value)


def _shown_float(value: float) -> str:
    text = repr(value)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        if -5 < int(exponent) < 21:
            return f"{value:.0f}"
        return f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"
    whole = text.removesuffix(".0")
    if len(whole.lstrip("-").partition(".")[0]) > 21:
        return f"{value:e}"
    return whole

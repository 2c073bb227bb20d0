"""Label and field selectors: parse, match, print, validate.

A `LabelSelector` is a sorted list of requirements; `NOTHING` matches no object and an empty one matches all.
`parse_*` raise `SelectorError` with upstream's sentence.

Upstream: apimachinery/pkg/labels/selector.go, pkg/fields/selector.go, pkg/apis/meta/v1/{helpers,validation}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from timonel.machinery import field, names
from timonel.machinery.errors import Cause
from timonel.records import dataclass

IN, NOT_IN, EQUALS, DOUBLE_EQUALS, NOT_EQUALS = "in", "notin", "=", "==", "!="
EXISTS, DOES_NOT_EXIST, GREATER, LESS = "exists", "!", "gt", "lt"

_FROM_API = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}
_PRINTED = {
    EQUALS: "=", DOUBLE_EQUALS: "==", NOT_EQUALS: "!=", IN: " in ", NOT_IN: " notin ", GREATER: ">", LESS: "<"
}  # fmt: skip
_BINARY_OPERATORS = "in, notin, =, ==, !=, gt, lt"


class SelectorError(ValueError):
    """A selector that cannot be understood; the message is upstream's."""


# ---- label selectors


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        operator = self.operator
        if operator in (EQUALS, IN, DOUBLE_EQUALS):
            return self.key in labels and labels[self.key] in self.values
        if operator in (NOT_IN, NOT_EQUALS):
            return self.key not in labels or labels[self.key] not in self.values
        if operator == EXISTS:
            return self.key in labels
        if operator == DOES_NOT_EXIST:
            return self.key not in labels
        bound, found = _int64(self.values[0]), _int64(labels.get(self.key, ""))
        if bound is None or found is None:
            return False
        return found > bound if operator == GREATER else found < bound

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == DOES_NOT_EXIST:
            return f"!{self.key}"
        listed = ",".join(sorted(self.values))
        if self.operator in (IN, NOT_IN):
            listed = f"({listed})"
        return f"{self.key}{_PRINTED[self.operator]}{listed}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    requirements: tuple[Requirement, ...] = ()
    is_nothing: bool = False

    @property
    def is_everything(self) -> bool:
        return not self.requirements and not self.is_nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.is_nothing:
            return False
        found = labels or {}
        return all(requirement.matches(found) for requirement in self.requirements)

    def exact(self) -> dict[str, str]:
        """The labels that an object must have with one value: what an index can be asked for."""
        return {
            r.key: r.values[0]
            for r in self.requirements
            if r.operator in (EQUALS, DOUBLE_EQUALS, IN) and len(r.values) == 1
        }

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(is_nothing=True)


def _int64(text: str) -> int | None:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _sorted(requirements: Iterable[Requirement]) -> LabelSelector:
    return LabelSelector(tuple(sorted(requirements, key=lambda r: r.key)))


def from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """Matches objects with all these labels; without any, every object."""
    return _sorted(Requirement(key, EQUALS, (value,)) for key, value in (labels or {}).items())


def from_label_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Of a metav1.LabelSelector: None matches nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    found = [requirement(key, EQUALS, (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _FROM_API.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(
                f"{field.quote(expression['operator'])} is not a valid label selector operator"
            )
        found.append(requirement(expression["key"], operator, tuple(expression.get("values") or ())))
    return _sorted(found)


def requirement(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    """A checked requirement; SelectorError tells all that is wrong with it."""
    causes = list(_requirement_problems(key, operator, values))
    if causes:
        texts = list(dict.fromkeys(map(str, causes)))
        raise SelectorError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return Requirement(key, operator, values)


def _requirement_problems(key: str, operator: str, values: tuple[str, ...]) -> Iterator[Cause]:
    messages = names.qualified_name(key)
    if messages:
        yield field.invalid("key", key, "; ".join(messages))
    if operator in (IN, NOT_IN) and not values:
        yield field.invalid("values", list(values), "for 'in', 'notin' operators, values set can't be empty")
    elif operator in (EQUALS, DOUBLE_EQUALS, NOT_EQUALS) and len(values) != 1:
        yield field.invalid("values", list(values), "exact-match compatibility requires one single value")
    elif operator in (EXISTS, DOES_NOT_EXIST) and values:
        yield field.invalid("values", list(values), "values set must be empty for exists and does not exist")
    elif operator in (GREATER, LESS):
        if len(values) != 1:
            yield field.invalid(
                "values", list(values), "for 'Gt', 'Lt' operators, exactly one value is required"
            )
        for i, value in enumerate(values):
            if _int64(value) is None:
                yield field.invalid(
                    f"values[{i}]", value, "for 'Gt', 'Lt' operators, the value must be an integer"
                )
    for i, value in enumerate(values):
        messages = names.label_value(value)
        if messages:
            yield field.invalid(f"values[{i}][{key}]", value, "; ".join(messages))


# ---- the text form of label selectors

_END = ""
_tokens = re.compile(r"[ \t\r\n]*(?:([=!(),><]+)|([^=!(),><\s\0]+))")
_SYMBOLS = ("==", "!=", "=", "!", "(", ")", ",", ">", "<")


def _scan(text: str) -> list[tuple[str, str]]:
    """Tokens as (kind, literal): kind is the symbol, `id`, `in`, `notin` or empty at the end."""
    found: list[tuple[str, str]] = []
    at = 0
    while match := _tokens.match(text, at):
        symbols, word = match.groups()
        if word is not None:
            found.append((word if word in (IN, NOT_IN) else "id", word))
            at = match.end()
        else:
            symbol = next(s for s in _SYMBOLS if symbols.startswith(s))
            found.append((symbol, symbol))
            at = match.start(1) + len(symbol)
    found.append((_END, ""))
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _scan(text)
        self.at = 0

    def peek(self) -> tuple[str, str]:
        kind, literal = self.tokens[min(self.at, len(self.tokens) - 1)]
        return ("id" if kind in (IN, NOT_IN) else kind), literal

    def take(self) -> tuple[str, str]:
        found = self.peek()
        self.at += 1
        return found

    def take_operator(self) -> tuple[str, str]:
        found = self.tokens[min(self.at, len(self.tokens) - 1)]
        self.at += 1
        return found

    def parse(self) -> Iterator[Requirement]:
        while True:
            kind, literal = self.peek()
            if kind == _END:
                return
            if kind not in ("id", "!"):
                raise SelectorError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                yield self.requirement()
            except SelectorError as e:
                raise SelectorError(f"unable to parse requirement: {e}") from e
            kind, literal = self.take()
            if kind == _END:
                return
            if kind != ",":
                raise SelectorError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self.peek()
            if kind not in ("id", "!"):
                raise SelectorError(f"found '{literal}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        kind, literal = self.take()
        negated = kind == "!"
        if negated:
            kind, literal = self.take()
        if kind != "id":
            raise SelectorError(f"found '{literal}', expected: identifier")
        key = literal
        messages = names.qualified_name(key)
        if messages:
            raise SelectorError(str(field.invalid("<nil>", key, "; ".join(messages))))
        if negated or self.peek()[0] in (_END, ","):
            return requirement(key, DOES_NOT_EXIST if negated else EXISTS, ())
        kind, literal = self.take_operator()
        operator = {">": GREATER, "<": LESS}.get(kind, kind)
        if operator in (IN, NOT_IN):
            return requirement(key, operator, self.values())
        if operator in (EQUALS, DOUBLE_EQUALS, NOT_EQUALS, GREATER, LESS):
            return requirement(key, operator, (self.exact_value(),))
        raise SelectorError(f"found '{literal}', expected: {_BINARY_OPERATORS}")

    def exact_value(self) -> str:
        if self.peek()[0] in (_END, ","):
            return ""
        kind, literal = self.take()
        if kind != "id":
            raise SelectorError(f"found '{literal}', expected: identifier")
        return literal

    def values(self) -> tuple[str, ...]:
        kind, literal = self.take()
        if kind != "(":
            raise SelectorError(f"found '{literal}' expected: '('")
        kind, literal = self.peek()
        if kind == ")":
            self.take()
            return ("",)
        if kind not in ("id", ","):
            raise SelectorError(f"found '{literal}', expected: ',', ')' or identifier")
        found = self.identifiers()
        if self.take()[0] != ")":
            raise SelectorError(f"found '{literal}', expected: ')'")
        return tuple(sorted(found))

    def identifiers(self) -> set[str]:
        found: set[str] = set()
        while True:
            kind, literal = self.take()
            if kind == "id":
                found.add(literal)
                next_kind, next_literal = self.peek()
                if next_kind == ")":
                    return found
                if next_kind != ",":
                    raise SelectorError(f"found '{next_literal}', expected: ',' or ')'")
            elif kind == ",":
                if not found:
                    found.add("")
                if self.peek()[0] == ")":
                    found.add("")
                    return found
                if self.peek()[0] == ",":
                    found.add("")
            else:
                raise SelectorError(f"found '{literal}', expected: ',', or identifier")


def parse_label_selector(text: str) -> LabelSelector:
    return _sorted(_Parser(text).parse()) if text else EVERYTHING


def validate_label_selector(
    selector: Mapping[str, Any] | None, path: str, *, allow_invalid_values: bool = False
) -> Iterator[Cause]:
    """The causes against a metav1.LabelSelector at `path`."""
    if selector is None:
        return
    labels_path = f"{path}.matchLabels"
    for key, value in sorted((selector.get("matchLabels") or {}).items()):
        for message in names.qualified_name(key):
            yield field.invalid(labels_path, key, message)
        for message in names.label_value(value):
            yield field.invalid(labels_path, value, message)
    for i, expression in enumerate(selector.get("matchExpressions") or ()):
        yield from _validate_expression(expression, f"{path}.matchExpressions[{i}]", allow_invalid_values)


def _validate_expression(
    expression: Mapping[str, Any], path: str, allow_invalid_values: bool
) -> Iterator[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            yield field.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield field.forbidden(
                f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            )
    else:
        yield field.invalid(f"{path}.operator", operator, "not a valid selector operator")
    key = expression.get("key", "")
    for message in names.qualified_name(key):
        yield field.invalid(f"{path}.key", key, message)
    if not allow_invalid_values:
        for i, value in enumerate(values):
            for message in names.label_value(value):
                yield field.invalid(f"{path}.values[{i}]", value, message)


# ---- field selectors


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    field: str
    value: str
    negated: bool = False

    def matches(self, fields: Mapping[str, str]) -> bool:
        return (fields.get(self.field, "") == self.value) is not self.negated

    def __str__(self) -> str:
        value = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.field}{'!=' if self.negated else '='}{value}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    requirements: tuple[FieldRequirement, ...] = ()

    @property
    def is_everything(self) -> bool:
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(requirement.matches(fields) for requirement in self.requirements)

    def exact(self, name: str) -> str | None:
        """The one value that a field must have, if the selector says so."""
        return next((r.value for r in self.requirements if r.field == name and not r.negated), None)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


_term = re.compile(r"((?:[^\\=!]|\\.|!(?!=))*?)(!=|==|=)(.*)", re.DOTALL).fullmatch


def parse_field_selector(text: str) -> FieldSelector:
    parts = sorted(part for part in _split_terms(text) if part)
    found = []
    for part in parts:
        match = _term(part)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        name, operator, value = match.groups()
        found.append(FieldRequirement(name, _unescape(value), operator == "!="))
    return FieldSelector(tuple(found))


def _split_terms(text: str) -> Iterator[str]:
    start, escaped = 0, False
    for i, c in enumerate(text):
        if escaped:
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == ",":
            yield text[start:i]
            start = i + 1
    yield text[start:]


def _unescape(value: str) -> str:
    out: list[str] = []
    escaped = False
    for c in value:
        if escaped:
            if c not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{c}")
            out.append(c)
            escaped = False
        elif c == "\\":
            escaped = True
        elif c in ",=":
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord(c)}")
        else:
            out.append(c)
    if escaped:
        raise SelectorError("invalid field selector: invalid escape sequence: \\")
    return "".join(out)

"""Paths to a field below a schema: `.spec.ports`, `.map['key']`. They name fields that the schema has.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go (ValidFieldPath).
"""

from __future__ import annotations

import re

from timonel.machinery.structural.schema import Schema


class InvalidPath(ValueError):
    """`str()` is upstream's text."""


_token = re.compile(r"'(?:[^'\\]|\\.|\\(?=$))*'|[.\[\]]|[^.\[\]]+", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}
NOT_A_FIELD = "does not refer to a valid field"


def resolve(path: str, schema: Schema, *, brackets: bool = True) -> tuple[str, Schema]:
    """(the path as causes say it, each step with its `.` or brackets; the schema there). Raises InvalidPath."""
    steps = _steps(path, brackets=brackets)
    said = ""
    for name in steps:
        if schema.properties:
            below = schema.properties.get(name)
            if below is None:
                raise InvalidPath(NOT_A_FIELD)
            said += f".{name}"
        elif schema.additional is not None:
            below = schema.additional
            said += f"[{name}]"
        else:
            raise InvalidPath(NOT_A_FIELD)
        schema = below
    return said, schema


def _steps(path: str, *, brackets: bool) -> list[str]:
    tokens = _token.findall(path)
    steps, at = [], 0
    while at < len(tokens):
        if tokens[at] == ".":
            if at + 1 >= len(tokens):
                raise InvalidPath("unexpected end of JSON path")
            steps.append(tokens[at + 1])
            at += 2
        elif tokens[at] == "[":
            if not brackets:
                raise InvalidPath("array notation is not allowed")
            steps.append(_bracketed(tokens, at + 1))
            at += 3
        else:
            raise InvalidPath(f"expected [ or . but got: {tokens[at]}")
    return steps


def _bracketed(tokens: list[str], at: int) -> str:
    if at >= len(tokens):
        raise InvalidPath("unexpected end of JSON path")
    text = tokens[at]
    if len(text) < 2 or text[0] != "'" or text[-1] != "'":
        raise InvalidPath(f"expected single quoted string but got {text}")
    unescaped = re.sub(r"\\(.)", _unescape, text[1:-1])
    if at + 1 >= len(tokens):
        raise InvalidPath("unexpected end of JSON path")
    if tokens[at + 1] != "]":
        raise InvalidPath(f"expected ] but got {tokens[at + 1]}")
    return unescaped


def _unescape(found: re.Match[str]) -> str:
    if found[1] not in _ESCAPES:
        raise InvalidPath(f"invalid string literal: invalid escape char {found[0]}")
    return _ESCAPES[found[1]]

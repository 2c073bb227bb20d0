"""YAML bodies as JSON would have them: 1.1 scalars, timestamps stay strings, each alias a copy of its own.

Upstream: sigs.k8s.io/yaml, go.yaml.in/yaml/v2.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import yaml

from timonel.machinery.field import quote

LARGEST = int(sys.float_info.max)
_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)").fullmatch
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?").fullmatch
_TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"])
_FALSE = frozenset(["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"])
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
FEW_ALIASED, FEW_VALUES = 100, 1000  # below these nobody minds
MANY_VALUES, TOO_MANY_VALUES = (
    400_000,
    4_000_000,
)  # between these aliases may make up less and less of the document
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(ValueError):
    """The message ends with the parser's own words."""


def read(raw: bytes, *, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    """The first document as JSON would have it, and one problem that lists all repeated keys."""
    loader = _LOADER(raw)
    try:
        node = loader.get_node() if loader.check_node() else None
        reader = _Reader()
        tree = reader.value(node) if node is not None else None
    except (yaml.YAMLError, RecursionError) as e:
        raise Unreadable(f"error converting YAML to JSON: yaml: {_words(e)}") from e
    finally:
        loader.dispose()
    if find_duplicates and reader.duplicates:
        return tree, ["\n".join(["yaml: unmarshal errors:", *reader.duplicates])]
    return tree, []


class _Reader:
    """Each alias becomes a copy of its own, as in JSON; a few lines that stand for millions are refused.

    Upstream: go.yaml.in/yaml/v2 decode.go (allowedAliasRatio).
    """

    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._depth = 0  # of aliases
        self._count = self._aliased = 0

    def value(self, node: yaml.Node) -> Any:
        self._count += 1
        if self._depth:
            self._aliased += 1
            if self._is_excessive():
                raise yaml.YAMLError("document contains excessive aliasing")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        known = id(node)
        if known in self._open:
            raise yaml.YAMLError("anchor value contains itself")
        is_alias = known in self._seen
        self._seen.add(known)
        self._open.add(known)
        self._depth += is_alias
        built = self._mapping(node) if isinstance(node, yaml.MappingNode) else self._sequence(node)
        self._depth -= is_alias
        self._open.discard(known)
        return built

    def _is_excessive(self) -> bool:
        if self._aliased <= FEW_ALIASED or self._count <= FEW_VALUES:
            return False
        beyond = min(max((self._count - MANY_VALUES) / (TOO_MANY_VALUES - MANY_VALUES), 0.0), 1.0)
        return self._aliased / self._count > 0.99 - 0.89 * beyond

    def _sequence(self, node: yaml.Node) -> list[Any]:
        return [self.value(item) for item in node.value]

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge" and not key_node.style:
                merged.append(value_node)
                continue
            key = _key(self.value(key_node))
            if key in found:
                line = key_node.start_mark.line + 1
                self.duplicates.append(f"  line {line}: key {quote(key)} already set in map")
            found[key] = self.value(value_node)
        for source in merged:
            for item in source.value if isinstance(source, yaml.SequenceNode) else [source]:
                for key, value in self.value(item).items():
                    found.setdefault(key, value)
        return found


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style or node.tag == "tag:yaml.org,2002:binary":
        return text
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT(text):
        return _integer(text.replace("_", ""))
    if _FLOAT(text):
        return float(text)
    return text


def _integer(text: str) -> int | float:
    found = _whole(text)
    if -(2**63) <= found < 2**64:
        return found
    return float(min(max(found, -LARGEST), LARGEST))  # as JSON numbers are read


def _whole(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "box":
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _words(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem

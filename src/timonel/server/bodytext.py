"""Request bodies to trees: JSON and YAML, with duplicate keys found when somebody asks.

`read_json` and `read_yaml` return (tree, problems); a body that cannot be read raises `BodyError`. Which one a request
gets is decided by its Content-Type, elsewhere.

Upstream: runtime/serializer/json/json.go, sigs.k8s.io/yaml (YAML 1.1 scalars, timestamps stay strings).
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import orjson
import yaml

from timonel.machinery.errors import BadRequest
from timonel.machinery.field import quote

LARGEST = int(sys.float_info.max)


class BodyError(BadRequest):
    """A body that is neither JSON nor YAML; the message ends with the parser's own words."""


# ---- JSON


def read_json(raw: bytes, *, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    """The tree, and `duplicate field "a.b"` per key that comes twice (the last one counts)."""
    try:
        tree = orjson.loads(raw)
    except orjson.JSONDecodeError as e:
        raise BodyError(_json_words(raw, e)) from e
    if not find_duplicates or _is_compact_without_duplicates(tree, raw):
        return tree, []
    return tree, duplicates_in(raw)


def _is_compact_without_duplicates(tree: Any, raw: bytes) -> bool:
    # A repeated key is lost in the tree, so that the tree written again is shorter than a compact body was.
    return len(orjson.dumps(tree)) == len(raw.rstrip())


class _Pairs(list[tuple[str, Any]]):
    """An object as the pairs that were read."""


def duplicates_in(raw: bytes) -> list[str]:
    found_any = False

    def pairs(items: list[tuple[str, Any]]) -> _Pairs:
        nonlocal found_any
        found_any = found_any or len(dict(items)) != len(items)
        return _Pairs(items)

    tree = json.loads(raw, object_pairs_hook=pairs)
    found: list[str] = []
    if found_any:
        _collect_duplicates(tree, "", found)
    return found


def _collect_duplicates(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            at = f"{path}.{key}" if path else key
            if key in seen:
                found.append(f"duplicate field {quote(at)}")
            seen.add(key)
            _collect_duplicates(item, at, found)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _collect_duplicates(item, f"{path}[{i}]", found)


def _json_words(raw: bytes, error: orjson.JSONDecodeError) -> str:
    """Go's sentence for a syntax error, as far as the place tells it."""
    start = "couldn't get version/kind; json parse error: "
    text = raw.decode("utf-8", "replace").rstrip()
    if error.pos >= len(text):
        return start + "unexpected end of JSON input"
    return start + f"invalid character {_go_char(text[error.pos])} looking for beginning of value"


def _go_char(char: str) -> str:
    return {"'": "'\\''", '"': "'\"'"}.get(char, f"'{char}'")


# ---- YAML

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


def read_yaml(raw: bytes, *, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    """The first document as JSON would have it, and one problem that lists all repeated keys."""
    if raw[:1] == b"{" and (tree := _json_in(raw, find_duplicates)) is not None:
        return tree, []
    loader = _LOADER(raw)
    try:
        node = loader.get_node() if loader.check_node() else None
        reader = _YamlReader()
        tree = reader.value(node) if node is not None else None
    except (yaml.YAMLError, RecursionError) as e:
        raise BodyError(f"error converting YAML to JSON: yaml: {_yaml_words(e)}") from e
    finally:
        loader.dispose()
    if find_duplicates and reader.duplicates:
        return tree, ["\n".join(["yaml: unmarshal errors:", *reader.duplicates])]
    return tree, []


def _json_in(raw: bytes, find_duplicates: bool) -> Any:
    """The tree of what is JSON after all, as most programs send it; None where YAML has something to say."""
    try:
        tree = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return None if find_duplicates and not _is_compact_without_duplicates(tree, raw) else tree


class _YamlReader:
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


def _yaml_words(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


def read(raw: bytes, *, is_yaml: bool = False, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    reader = read_yaml if is_yaml else read_json
    return reader(raw, find_duplicates=find_duplicates)

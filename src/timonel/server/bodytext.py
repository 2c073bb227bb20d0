"""Request bodies to trees: JSON and YAML, with duplicate keys found when somebody asks.

`read` returns (tree, problems); a body that cannot be read raises `BodyError`. Whether it is JSON or YAML is decided by
its Content-Type, elsewhere.

Upstream: runtime/serializer/json/json.go, sigs.k8s.io/yaml (YAML 1.1 scalars, timestamps stay strings).
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from timonel.machinery.errors import BadRequest
from timonel.machinery.field import quote


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


def read(raw: bytes, *, is_yaml: bool = False, find_duplicates: bool = False) -> tuple[Any, list[str]]:
    if not is_yaml:
        return read_json(raw, find_duplicates=find_duplicates)
    from timonel.server import yamltext  # here: it is slow to import, and most clients send JSON

    if raw[:1] == b"{" and (tree := _json_in(raw, find_duplicates)) is not None:
        return tree, []
    try:
        return yamltext.read(raw, find_duplicates=find_duplicates)
    except yamltext.Unreadable as e:
        raise BodyError(str(e)) from e


def _json_in(raw: bytes, find_duplicates: bool) -> Any:
    """The tree of what is JSON after all, as most programs send it; None where YAML has something to say."""
    try:
        tree = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return None if find_duplicates and not _is_compact_without_duplicates(tree, raw) else tree

"""CEL types from structural schemas: which values a rule sees, under which names, and how large they can get.

Property names that are no identifiers are escaped (`a.b` is `a__dot__b`). Parts without a schema (an object that keeps
unknown fields and declares none apart) are left out, as upstream does. The sizes feed the cost estimate.

Upstream: apiserver/pkg/cel/common/schemas.go, escaping.go, limits.go; apiextensions pkg/apiserver/schema/cel/model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from timonel.machinery.cel import types
from timonel.machinery.cel.types import RESERVED, Field, Type

MAX_REQUEST_BYTES = 3 * 1024 * 1024
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_escaped = re.compile(r"__|[-./]")
_expressible = re.compile(r"[a-zA-Z_.\-/][a-zA-Z0-9_.\-/]*").fullmatch

_META_FIELDS = ("name", "generateName")


def escape(name: str) -> str | None:
    """The identifier by which rules reach a property, or None when there is none."""
    if name in RESERVED:
        return f"__{name}__"
    if _expressible(name) is None:
        return None
    return _escaped.sub(lambda found: _ESCAPES[found[0]], name)


_unescaped = re.compile(r"__[^_]+__")


def unescape(identifier: str) -> str:
    """The property that an escaped identifier stands for; what is no escape stays as it is."""
    if "__" not in identifier:
        return identifier

    def plain(found: re.Match[str]) -> str:
        word = found[0][2:-2]
        if word in RESERVED:
            return word if found[0] == identifier else found[0]
        return {"underscores": "__", "dot": ".", "dash": "-", "slash": "/"}.get(word, found[0])

    return _unescaped.sub(plain, identifier)


def declare(schema: Mapping[str, Any], *, name: str, root: bool) -> Type | None:
    """The type of a schema's node, or None when rules cannot see its values."""
    if schema.get("x-kubernetes-int-or-string"):
        limit = schema.get("maxLength")
        size = MAX_REQUEST_BYTES - 2 if limit is None else max(int(limit), 0) * 4
        return Type("dyn", max_elements=size, min_size=1, nullable=bool(schema.get("nullable")))
    if root or schema.get("x-kubernetes-embedded-resource"):
        schema = _with_meta(schema)
    declarer = _DECLARERS.get(schema.get("type", ""))
    return None if declarer is None else declarer(schema, name)


def _with_meta(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """As the root of every resource: apiVersion, kind and two fields of metadata, whatever the schema says."""
    text = {"type": "string"}
    properties = {
        **schema.get("properties", {}),
        "apiVersion": text,
        "kind": text,
        "metadata": {"type": "object", "properties": dict.fromkeys(_META_FIELDS, text)},
    }
    return {**schema, "properties": properties}


def _list(schema: Mapping[str, Any], name: str) -> Type | None:
    items = schema.get("items")
    elem = None if not isinstance(items, Mapping) else declare(items, name=f"{name}.@idx", root=False)
    if elem is None:
        return None
    limit = schema.get("maxItems")
    size = (MAX_REQUEST_BYTES - 2) // (elem.min_size + 1) if limit is None else max(int(limit), 0)
    return Type(
        "list",
        "list",
        (elem,),
        max_elements=size,
        min_size=2,
        list_type=schema.get("x-kubernetes-list-type", ""),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        nullable=bool(schema.get("nullable")),
    )


def _object(schema: Mapping[str, Any], name: str) -> Type | None:
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        value = declare(extra, name=f"{name}.@elem", root=False)
        if value is None:
            return None
        limit = schema.get("maxProperties")
        size = (MAX_REQUEST_BYTES - 2) // (value.min_size + 6) if limit is None else max(int(limit), 0)
        return Type(
            "map",
            "map",
            (types.STRING, value),
            max_elements=size,
            min_size=2,
            nullable=bool(schema.get("nullable")),
        )
    fields: dict[str, Field] = {}
    required = schema.get("required") or ()
    min_size = 2
    for key, node in schema.get("properties", {}).items():
        identifier = escape(key)
        of = declare(node, name=f"{name}.{identifier or key}", root=False)
        if of is None:
            continue
        if identifier is not None:
            fields[identifier] = Field(of, key)
        if key in required and node.get("default") is None:
            min_size += len(key) + of.min_size + 4
    return Type("object", name, fields=fields, min_size=min_size, nullable=bool(schema.get("nullable")))


_FORMATS = {
    "duration": ("duration", 32, 3),
    "date": ("timestamp", 12, 12),
    "date-time": ("timestamp", 32, 21),
}


def _string(schema: Mapping[str, Any], name: str) -> Type:
    limit = schema.get("maxLength")
    nullable = bool(schema.get("nullable"))
    special = _FORMATS.get(schema.get("format", ""))
    if special is not None:
        kind, size, smallest = special
        return Type(kind, max_elements=size, min_size=smallest, nullable=nullable)
    if schema.get("format") == "byte":
        size = MAX_REQUEST_BYTES - 2 if limit is None else max(int(limit), 0)
        return Type("bytes", max_elements=size, min_size=2, nullable=nullable)
    if limit is not None:
        size = max(int(limit), 0) * 4
    elif schema.get("enum"):
        size = max((len(one.encode()) for one in schema["enum"] if isinstance(one, str)), default=0)
    else:
        size = MAX_REQUEST_BYTES - 2
    return Type("string", max_elements=size, min_size=2, nullable=nullable)


def _scalar(kind: str, smallest: int) -> Any:
    def make(schema: Mapping[str, Any], name: str) -> Type:
        return Type(kind, min_size=smallest, nullable=bool(schema.get("nullable")))

    return make


_DECLARERS = {
    "array": _list,
    "object": _object,
    "string": _string,
    "boolean": _scalar("bool", 4),
    "number": _scalar("double", 1),
    "integer": _scalar("int", 1),
}

"""The nodes of a custom resource, from the structural schema of one of its versions.

`x-kubernetes-list-type`, `-list-map-keys` and `-map-type` say what belongs to one manager as a whole; lists without a
type do. Fields of objects that keep what is unknown are compared by what they look like. Every embedded resource has
the metadata that all objects have, which `metadata` knows.

Upstream: apiextensions-apiserver/pkg/controller/openapi/builder/builder.go, kube-openapi/pkg/schemaconv/openapi.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timonel.machinery.apply.typed import Atomic, Deduced, Items, List, Map, Node, Scalar, Struct

Schema = Mapping[str, Any]
_SCALARS = {"string": "string", "integer": "int64", "number": "number", "boolean": "boolean"}
_DEDUCED = Deduced()


def root(schema: Schema | None, metadata: Node) -> Struct:
    """The node of whole objects; None: of a version without a schema."""
    found = Struct() if schema is not None and not _keeps_unknown(schema) else Struct(_DEDUCED)
    _declare(found, schema or {}, metadata)
    _make_resource(found, metadata)
    return found


def node(schema: Schema, metadata: Node) -> Node:
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return Scalar("")
    if kind == "array":
        return _list(schema, metadata)
    if kind == "object" or "properties" in schema or schema.get("x-kubernetes-embedded-resource"):
        return _object(schema, metadata)
    if kind in _SCALARS:
        return Scalar(_SCALARS[kind])
    return _DEDUCED


def _keeps_unknown(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def _object(schema: Schema, metadata: Node) -> Node:
    values = schema.get("additionalProperties")
    embedded = schema.get("x-kubernetes-embedded-resource")
    found: Node
    if isinstance(values, Mapping):
        found = Map(node(values, metadata))
    elif not schema.get("properties") and not embedded:
        found = _DEDUCED if _keeps_unknown(schema) or values is True else Struct()
    else:
        struct = Struct(_DEDUCED if _keeps_unknown(schema) else None)
        _declare(struct, schema, metadata)
        if embedded:
            _make_resource(struct, metadata)
        found = struct
    if schema.get("x-kubernetes-map-type") == "atomic":
        inner = found
        return Atomic(lambda: inner, "map")
    return found


def _declare(struct: Struct, schema: Schema, metadata: Node) -> None:
    for name, below in (schema.get("properties") or {}).items():
        struct.children[name] = node(below, metadata)


def _make_resource(struct: Struct, metadata: Node) -> None:
    struct.children |= {"apiVersion": Scalar("string"), "kind": Scalar("string"), "metadata": metadata}


def _list(schema: Schema, metadata: Node) -> Node:
    items = schema.get("items") or {}
    element = node(items, metadata)
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        return Items(element, (), {})
    if kind == "map":
        keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        fields = items.get("properties") or {}
        defaults = {k: fields[k]["default"] for k in keys if "default" in fields.get(k, {})}
        return Items(element, keys, defaults)
    inner = List(element)
    return Atomic(lambda: inner, "list")

"""Defaults in a schema: each is a value that its own schema takes, without unknown fields.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.structural import findings
from timonel.machinery.structural.embedded import Metadata, compile_embedded
from timonel.machinery.structural.lists import compile_lists
from timonel.machinery.structural.pruning import compile_prune
from timonel.machinery.structural.schema import META_FIELDS, Schema
from timonel.machinery.structural.structural import AnyMetadata, has_rules


def validate(schema: Schema, path: str, *, pruned: bool, root: bool = True) -> Iterator[Cause]:
    """Of the schema and all below, but not below additionalProperties, as upstream."""
    yield from _validate(schema, path, pruned=pruned, resource=root, metadata=AnyMetadata())


def _validate(
    schema: Schema, path: str, *, pruned: bool, resource: bool, metadata: Metadata
) -> Iterator[Cause]:
    if schema.has_default:
        yield from _default(schema, f"{path}.default", pruned=pruned, metadata=metadata)
    if schema.items is not None:
        yield from _validate(
            schema.items, f"{path}.items", pruned=pruned, resource=schema.items.embedded, metadata=metadata
        )
    for key, below in schema.properties.items():
        at = f"{path}.properties[{key}]"
        if resource and key in META_FIELDS:
            continue  # defaults for what every object has are refused elsewhere, or the API's own
        yield from _validate(below, at, pruned=pruned, resource=below.embedded, metadata=metadata)


def _default(schema: Schema, path: str, *, pruned: bool, metadata: Metadata) -> Iterator[Cause]:
    if pruned and _loses_something(schema):
        yield field.invalid(path, schema.default, "must not have unknown fields")
    embedded = compile_embedded(schema, metadata)
    found = list(embedded(schema.default, path)) if embedded is not None else []
    if not found:
        found = list(findings.causes(findings.explain(schema, schema.default).errors, path))
    if not found and (lists := compile_lists(schema)) is not None:
        found = list(lists(schema.default, path))
    if not found and has_rules(schema):
        from timonel.machinery.structural.rules import Rules

        found = list(Rules(schema, root=False).validate(schema.default, None, path=path))
    yield from found


def _loses_something(schema: Schema) -> bool:
    value: Any = copy.deepcopy(schema.default)
    if not isinstance(value, dict | list):
        return False
    return bool(compile_prune(schema)(value))

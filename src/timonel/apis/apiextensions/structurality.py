"""Structural schemas: what a value looks like is said once, outside of allOf, anyOf, oneOf and not.

`causes(schema, path)` says where a schema is not so; the rest are questions that the rules of updates ask.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/{validation,convert}.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from timonel.apis.apiextensions.hub import is_plain
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.patterns import PatternError, compile_pattern
from timonel.machinery.structural.pruning import compile_prune
from timonel.machinery.structural.schema import Schema

Tree = Mapping[str, Any]
TYPES = ("array", "boolean", "integer", "number", "object", "string")
ROOT, ITEM, FIELD = "at the root", "for specified array items", "for specified object fields"
IS_KEY = "this property is in x-kubernetes-list-map-keys"
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]

_UNSUPPORTED = (
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("additionalItems", "additionalItems"),
    ("definitions", "definitions"),
)


def unsupported(schema: Tree) -> str:
    """Why upstream cannot even read it as a structural schema; empty if it can."""
    if is_plain(schema):
        return ""
    for key, name in _UNSUPPORTED:
        found = schema.get(key)
        if found or (key == "additionalItems" and found is not None):
            return f"OpenAPIV3Schema '{name}' is not supported"
    for below in _below(schema):
        if why := unsupported(below):
            return why
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    if isinstance(schema.get("items"), list) and schema["items"]:
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    return ""


def _below(schema: Tree) -> Iterator[Tree]:
    for key in ("not", "additionalProperties", "items"):
        if isinstance(schema.get(key), dict):
            yield schema[key]
    for key in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(key) or ()
    yield from (schema.get("properties") or {}).values()


def causes(schema: Tree, path: str) -> list[Cause]:
    """As upstream sorted by their text."""
    found = [*_invariants(schema, ROOT, path), *_completeness(schema, schema, path, path)]
    return sorted(found, key=str)


# ---- what holds at every place


def _invariants(schema: Tree, level: str, path: str) -> Iterator[Cause]:
    if level != ROOT and is_plain(schema):
        return
    kind, items, more = schema.get("type") or "", schema.get("items"), schema.get("additionalProperties")
    if kind == "array" and not isinstance(items, dict) and not items:
        yield field.required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _invariants(items, ITEM, f"{path}.items")
    properties = schema.get("properties") or {}
    for key, below in properties.items():
        yield from _invariants(below, FIELD, f"{path}.properties[{key}]")
    if more is not None and level == ROOT:
        yield field.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(more, dict):
        yield from _invariants(more, FIELD, f"{path}.additionalProperties")
    yield from _extensions(schema, path)
    any_of = schema.get("anyOf") or []
    all_of = schema.get("allOf") or [{}]
    yield from _value_rules(
        schema,
        path,
        skip_any_of=any_of == INT_OR_STRING,
        skip_first=(all_of[0].get("anyOf") or []) == INT_OR_STRING,
    )
    yield from _typed(schema, level, path)
    if level == ROOT or schema.get("x-kubernetes-embedded-resource"):
        for key in ("kind", "apiVersion"):
            if key in properties and properties[key].get("type") != "string":
                at = f"{path}.properties[{key}].type"
                yield field.invalid(at, properties[key].get("type") or "", "must be string")
    if "metadata" in properties:
        yield from _metadata(schema, properties["metadata"], level, f"{path}.properties[metadata]")


def _extensions(schema: Tree, path: str) -> Iterator[Cause]:
    if not schema.get("x-kubernetes-int-or-string"):
        return
    for key in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if schema.get(key):
            yield field.invalid(f"{path}.{key}", True, "must be false if x-kubernetes-int-or-string is true")


def _typed(schema: Tree, level: str, path: str) -> Iterator[Cause]:
    kind, at = schema.get("type") or "", f"{path}.type"
    keeps, embedded = (
        schema.get("x-kubernetes-preserve-unknown-fields"),
        schema.get("x-kubernetes-embedded-resource"),
    )
    if embedded and kind != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        yield field.invalid(at, kind, detail) if kind else field.required(at, detail)
    elif not kind and not schema.get("x-kubernetes-int-or-string") and not keeps:
        yield field.required(at, f"must not be empty {level}")
    if embedded and schema.get("additionalProperties") is not None:
        detail = "must not be used if x-kubernetes-embedded-resource is set"
        yield field.forbidden(f"{path}.additionalProperties", detail)
    if level == ROOT and kind and kind != "object":
        yield field.invalid(at, kind, "must be object at the root")
    if embedded and not keeps and not schema.get("properties"):
        detail = (
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        )
        yield field.required(f"{path}.properties", detail)


def _metadata(owner: Tree, schema: Tree, level: str, path: str) -> Iterator[Cause]:
    if (level == ROOT or owner.get("x-kubernetes-embedded-resource")) and schema.get("type") != "object":
        yield field.invalid(f"{path}.type", schema.get("type") or "", "must be object")
    if level != ROOT:
        return
    rest = {k: v for k, v in schema.items() if k not in ("type", "default", "externalDocs", "example")}
    if set(rest.get("properties") or ()) <= {"name", "generateName"}:
        rest.pop("properties", None)
    if any(value not in (None, "", False, [], {}) for value in rest.values()):
        detail = (
            "must not specify anything other than name and generateName, but metadata is implicitly specified"
        )
        yield field.forbidden(path, detail)


# ---- allOf, anyOf, oneOf, not


def _value_rules(
    schema: Tree, path: str, *, skip_any_of: bool = False, skip_first: bool = False
) -> Iterator[Cause]:
    if not skip_any_of:
        for index, one in enumerate(schema.get("anyOf") or ()):
            yield from _nested(one, f"{path}.anyOf[{index}]")
    for index, one in enumerate(schema.get("allOf") or ()):
        yield from _nested(one, f"{path}.allOf[{index}]", skip_any_of=skip_first and index == 0)
    for index, one in enumerate(schema.get("oneOf") or ()):
        yield from _nested(one, f"{path}.oneOf[{index}]")
    if isinstance(schema.get("not"), dict):
        yield from _nested(schema["not"], f"{path}.not")
    pattern = schema.get("pattern") or ""
    if pattern:
        try:
            compile_pattern(pattern)
        except PatternError as error:
            detail = f"must be a valid regular expression, but isn't: {error}"
            yield field.invalid(f"{path}.pattern", pattern, detail)


# (what a nested schema may not say, what upstream says of it)
_NOT_NESTED = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
_POINTERS = frozenset(("additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type"))


def _nested(schema: Tree, path: str, *, skip_any_of: bool = False) -> Iterator[Cause]:
    yield from _value_rules(schema, path, skip_any_of=skip_any_of)
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], f"{path}.items")
    properties = schema.get("properties") or {}
    for key, below in properties.items():
        yield from _nested(below, f"{path}.properties[{key}]")
    for key, detail in _NOT_NESTED:
        found = schema.get(key)
        if found or (found is not None and key in _POINTERS):
            yield field.forbidden(f"{path}.{key}", detail)
    if "metadata" in properties:
        yield field.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


# ---- what is said in alternatives must be said outside, too


def _completeness(schema: Tree, full: Tree, path: str, outside: str) -> Iterator[Cause]:
    """The alternatives of `schema`, at `path`, against the structure that they restrict, `full`, at `outside`.

    As upstream, only those at the root of the whole schema are held against it.
    """
    if isinstance(schema.get("not"), dict):
        yield from _nested_complete(schema["not"], full, f"{path}.not", outside)
    for key in ("allOf", "anyOf", "oneOf"):
        for index, one in enumerate(schema.get(key) or ()):
            yield from _nested_complete(one, full, f"{path}.{key}[{index}]", outside)


def _nested_complete(schema: Tree, full: Tree, path: str, outside: str) -> Iterator[Cause]:
    yield from _completeness(schema, full, path, outside)
    members = [(f".properties[{key}]", one, _property(full, key)) for key, one in _properties(schema).items()]
    if isinstance(schema.get("items"), dict):
        members.insert(0, (".items", schema["items"], _member(full, "items")))
    for step, one, below in members:
        if below is None:
            yield field.required(f"{outside}{step}", f"because it is defined in {path}{step}")
        else:
            yield from _nested_complete(one, below, f"{path}{step}", f"{outside}{step}")


def _member(schema: Tree, key: str) -> Tree | None:
    found = schema.get(key)
    return found if isinstance(found, dict) else None


def _properties(schema: Tree) -> Tree:
    found: Tree = schema.get("properties") or {}
    return found


def _property(schema: Tree, key: str) -> Tree | None:
    return _properties(schema).get(key)


# ---- lists of type set and map


def is_set_of_parts(schema: Tree) -> bool:
    """A set whose items have owners for their parts: they cannot be told apart as wholes."""
    items = schema.get("items")
    if schema.get("x-kubernetes-list-type") != "set" or not isinstance(items, dict):
        return False
    if items.get("type") == "array":
        return items.get("x-kubernetes-list-type") not in (None, "atomic")
    return items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic"


def map_key_causes(schema: Tree, path: str) -> Iterator[Cause]:
    """Items of sets and maps are not null, and the keys of maps always have a value."""
    kind, items = schema.get("x-kubernetes-list-type"), schema.get("items")
    if kind not in ("set", "map") or not isinstance(items, dict):
        return
    if items.get("nullable"):
        detail = f"cannot be nullable when x-kubernetes-list-type is {kind}"
        yield field.forbidden(f"{path}.items.nullable", detail)
    if kind == "set":
        return
    for key in schema.get("x-kubernetes-list-map-keys") or ():
        member = (items.get("properties") or {}).get(key)
        if member is None:
            continue
        at = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and member.get("default") is None:
            detail = "so it must have a default or be a required property"
            yield field.required(f"{at}.default", f"{IS_KEY}, {detail}")
        if member.get("nullable"):
            yield field.forbidden(f"{at}.nullable", f"{IS_KEY}, so it cannot be nullable")


# ---- questions about what is stored


def is_broken(schema: Tree) -> bool:
    return bool(unsupported(schema) or causes(schema, ""))


def has_unpruned_defaults(schema: Tree) -> bool:
    return not is_broken(schema) and any(_is_unpruned(one) for one in _with_defaults(Schema.of(schema)))


def _with_defaults(schema: Schema) -> Iterator[Schema]:
    if schema.has_default:
        yield schema
    for below in (schema.items, *schema.properties.values()):
        if below is not None:
            yield from _with_defaults(below)


def _is_unpruned(schema: Schema) -> bool:
    pruned = copy.deepcopy(schema.default)
    if isinstance(pruned, dict | list):
        compile_prune(schema)(pruned)
    return bool(pruned != schema.default)

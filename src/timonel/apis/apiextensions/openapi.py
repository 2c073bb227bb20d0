"""The rules for one schema of a definition.

First whether it is structural, then its defaults, then what it may not say at all, then its lists and maps, and where
all that is well, its expressions.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field as dataclass_field
from dataclasses import replace
from typing import Any

from timonel.apis import checks
from timonel.apis.apiextensions import defaults, gotext, structurality
from timonel.apis.apiextensions.expressions import Context
from timonel.apis.apiextensions.hub import is_plain
from timonel.apis.apiextensions.options import Options
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.machinery.structural import fieldpaths
from timonel.machinery.structural.schema import META_FIELDS, Schema
from timonel.records import dataclass

Tree = Mapping[str, Any]
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
AT_ROOT_WITH_STATUS = (
    "Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum",
    "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items",
    "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations",
)  # fmt: skip


BESIDE_STATUS = "at the root of the schema if the status subresource is enabled"


def validate(holder: Tree | None, path: str, options: Options, *, has_status: bool) -> Iterator[Cause]:
    """`holder` is a version's `schema`."""
    schema = (holder or {}).get("openAPIV3Schema")
    if schema is None:
        return
    at = f"{path}.openAPIV3Schema"
    found = list(_root(schema, at, has_status=has_status))
    unreadable = ""
    context = None
    if options.require_structural:
        unreadable = structurality.unsupported(schema)
        broken: list[Cause] = []
        if not unreadable:
            broken = structurality.causes(schema, at)
            broken = broken or list(
                defaults.validate(
                    Schema.of(schema, all_formats=True), at, pruned=options.require_pruned_defaults
                )
            )
        if not unreadable and not broken:
            context = Context.of_root(schema, ignore_cost=options.ignore_rule_cost)
        found += broken
    told = _Told()
    _walk(schema, at, _Place(), options, context, told)
    found += [*told.schema, *told.expressions]
    if context is not None:
        found += context.total.causes(at)
    if not found and unreadable:
        found.append(field.invalid(at, "", unreadable))
    yield from found


def _root(schema: Tree, path: str, *, has_status: bool) -> Iterator[Cause]:
    if has_status:
        yield from _beside_status(schema, path)
    if schema.get("nullable"):
        yield field.forbidden(f"{path}.nullable", "nullable cannot be true at the root")


def _beside_status(schema: Tree, path: str) -> Iterator[Cause]:
    """The status has a schema of its own then, taken out of this one: nothing may be said of both at once."""
    for name, key, _ in gotext.WORDS:
        if schema.get(key) in (None, "", False):
            continue
        if name == "Type":
            if schema["type"] != "object":
                detail = f'only "object" is allowed as the type {BESIDE_STATUS}'
                yield field.invalid(f"{path}.type", schema["type"], detail)
                return
        elif name not in AT_ROOT_WITH_STATUS:
            allowed = " ".join(AT_ROOT_WITH_STATUS)
            detail = f"only [{allowed}] fields are allowed {BESIDE_STATUS}"
            yield gotext.invalid(path, gotext.schema(schema), detail)
            return


@dataclass(slots=True)
class _Told:
    """Causes, those of expressions apart: they come after all others."""

    schema: list[Cause] = dataclass_field(default_factory=list)
    expressions: list[Cause] = dataclass_field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """What holds for a place because of what is around it."""

    is_root: bool = True
    no_defaults: str | None = None  # why, if there may be no default
    in_meta: bool = False
    uncorrelatable: str = ""  # the part of the schema in which old and new values do not belong together

    def inside(self) -> _Place:
        return replace(self, is_root=False) if self.is_root else self


def _walk(
    schema: Tree, path: str, place: _Place, options: Options, context: Context | None, told: _Told
) -> None:
    if is_plain(schema):
        return
    before = len(told.schema)
    told.schema += _forbidden(schema, path, place, options)
    _walk_members(schema, path, place, options, context, told)
    told.schema += _lists_and_maps(schema, path, options)
    told.schema += _rules(schema, path)
    # Rules on a schema that is wrong here or below would be told what goes away with it.
    if schema.get("x-kubernetes-validations") and len(told.schema) == before and context is not None:
        told.expressions += context.validate(path, place.uncorrelatable)


def _walk_members(
    schema: Tree, path: str, place: _Place, options: Options, context: Context | None, told: _Told
) -> None:
    more, inside = schema.get("additionalProperties"), place.inside()
    if isinstance(more, dict):
        below = inside
        if place.in_meta:
            below = replace(inside, no_defaults="inside additionalProperties applying to object metadata")
        _walk(more, f"{path}.additionalProperties", below, options, context and context.below(more), told)
    for key, one in (schema.get("properties") or {}).items():
        below = _member_place(schema, key, path, place)
        _walk(one, f"{path}.properties[{key}]", below, options, context and context.below(one), told)
    if isinstance(schema.get("not"), dict):
        _walk(schema["not"], f"{path}.not", inside, options, None, told)
    for word in ("allOf", "oneOf", "anyOf"):
        for index, one in enumerate(schema.get(word) or ()):
            _walk(one, f"{path}.{word}[{index}]", inside, options, None, told)
    for key, one in (schema.get("definitions") or {}).items():
        _walk(one, f"{path}.definitions[{key}]", inside, options, None, told)
    items = schema.get("items")
    below = inside
    if items is not None and schema.get("x-kubernetes-list-type") != "map" and not below.uncorrelatable:
        below = replace(inside, uncorrelatable=path)
    if isinstance(items, dict):
        _walk(items, f"{path}.items", below, options, context and context.below(items), told)
    for index, one in enumerate(items if isinstance(items, list) else ()):
        _walk(one, f"{path}.items[{index}]", below, options, context and context.below(one), told)
    for key, one in (schema.get("dependencies") or {}).items():
        if isinstance(one, dict):
            _walk(one, f"{path}.dependencies[{key}]", inside, options, None, told)


def _member_place(schema: Tree, key: str, path: str, place: _Place) -> _Place:
    below = place.inside()
    if schema.get("x-kubernetes-map-type") == "atomic" and not below.uncorrelatable:
        below = replace(below, uncorrelatable=path)
    if (place.is_root or schema.get("x-kubernetes-embedded-resource")) and key in META_FIELDS:
        below = replace(below, in_meta=True)
        if place.is_root:
            below = replace(below, no_defaults=f"in top-level {key}")
    return below


# ---- what may not be said


def _forbidden(schema: Tree, path: str, place: _Place, options: Options) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    if options.require_valid_types and kind:
        yield from checks.one_of(f"{path}.type", kind, structurality.TYPES)
    if schema.get("default") is not None and place.no_defaults is not None:
        yield field.forbidden(f"{path}.default", f"must not be set {place.no_defaults}".rstrip())
    for key in ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"):
        found = schema.get(key)
        if found or (found is not None and key in ("additionalItems", "dependencies", "$ref")):
            yield field.forbidden(f"{path}.{key}", f"{key} is not supported")
    if kind == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        yield field.forbidden(f"{path}.type", detail)
    if isinstance(schema.get("items"), list) and schema["items"]:
        yield field.forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.in_meta and schema.get("x-kubernetes-embedded-resource"):
        detail = "must not be used inside of resource meta"
        yield field.forbidden(f"{path}.x-kubernetes-embedded-resource", detail)
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield field.forbidden(f"{path}.uniqueItems", detail)
    more = schema.get("additionalProperties")
    if more is not None and more is not True and schema.get("properties"):
        detail = "additionalProperties and properties are mutual exclusive"
        yield field.forbidden(f"{path}.additionalProperties", detail)


# ---- lists and maps


def _lists_and_maps(schema: Tree, path: str, options: Options) -> Iterator[Cause]:
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        at = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield field.invalid(at, False, "must be true or undefined")
    kind, map_type, list_type = (
        schema.get("type") or "",
        schema.get("x-kubernetes-map-type"),
        schema.get("x-kubernetes-list-type"),
    )
    if map_type is not None:
        yield from _of_type(kind, "object", f"{path}.type", "x-kubernetes-map-type")
        yield from checks.one_of(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    if list_type is not None:
        wrong = list(_of_type(kind, "array", f"{path}.type", "x-kubernetes-list-type"))
        yield from wrong
        if not wrong and options.require_atomic_sets and structurality.is_set_of_parts(schema):
            word = "list" if schema["items"]["type"] == "array" else "map"
            shown = schema["items"].get("x-kubernetes-list-type")
            detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield field.invalid(f"{path}.items.x-kubernetes-{word}-type", shown, detail)
        yield from checks.one_of(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))
    yield from _list_map(schema, list_type, path)
    if options.require_map_keys:
        yield from structurality.map_key_causes(schema, path)


def _of_type(kind: str, wanted: str, path: str, because: str) -> Iterator[Cause]:
    detail = f"must be {wanted} if {because} is specified"
    if not kind:
        yield field.required(path, detail)
    elif kind != wanted:
        yield field.invalid(path, kind, detail)


def _list_map(schema: Tree, list_type: str | None, path: str) -> Iterator[Cause]:
    keys, items = schema.get("x-kubernetes-list-map-keys") or [], schema.get("items")
    if keys and list_type != "map":
        at, detail = (
            f"{path}.x-kubernetes-list-type",
            "must be map if x-kubernetes-list-map-keys is non-empty",
        )
        yield field.required(at, detail) if list_type is None else field.invalid(at, list_type, detail)
    if list_type != "map":
        return
    at = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield field.required(at, "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield field.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        yield field.invalid(f"{path}.items.type", items.get("type") or "", detail)
        return
    for index, key in enumerate(keys):
        member = (items.get("properties") or {}).get(key)
        if member is None:
            yield field.invalid(at, keys, "entries must all be names of item properties")
        elif member.get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield field.invalid(f"{path}.items.properties[{key}].type", items["type"], detail)
        if key in keys[:index]:
            yield field.invalid(at, keys, "must not contain duplicate entries")


# ---- rules, but for what they say


_newline = re.compile("[\n\r]").search


def _rules(schema: Tree, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        yield from _rule(schema, rule, f"{path}.x-kubernetes-validations[{index}]")


def _rule(schema: Tree, rule: Tree, path: str) -> Iterator[Cause]:
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    if not text:
        yield field.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield field.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif _newline(message.strip()):
        yield field.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif _newline(text) and not message.strip():
        detail = "message must be specified if rule contains line breaks"
        yield field.required(f"{path}.message", detail)
    words = rule.get("messageExpression") or ""
    if words and not words.strip():
        detail = "messageExpression must be non-empty if specified"
        yield field.required(f"{path}.messageExpression", detail)
    if rule.get("reason") is not None:
        yield from checks.one_of(f"{path}.reason", rule["reason"], REASONS)
    where = rule.get("fieldPath") or ""
    if where and not where.strip():
        yield field.invalid(f"{path}.fieldPath", where, "must be non-empty if specified")
    if _newline(where):
        yield field.invalid(f"{path}.fieldPath", where, "must not contain line breaks")
    if where and not _is_path(where, schema):
        yield field.invalid(f"{path}.fieldPath", where, "must be a valid path")


def _is_path(path: str, schema: Tree) -> bool:
    if structurality.unsupported(schema):
        return True
    try:
        fieldpaths.resolve(path, Schema.of(schema))
    except fieldpaths.InvalidPath:
        return False
    return True

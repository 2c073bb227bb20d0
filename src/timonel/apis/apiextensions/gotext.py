"""Parts of a definition as upstream prints them in messages: its internal Go structs, as JSON.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/{types,types_jsonschema}.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from timonel.machinery.errors import Cause

Tree = Mapping[str, Any]


def invalid(path: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {marshal(value)}: {detail}", path)


def marshal(value: Any) -> str:
    """As Go's encoding/json: no blanks, and what matters in HTML escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def versions(found: tuple[Tree, ...] | None) -> Any:
    return None if found is None else [_version(version) for version in found]


def _version(version: Tree) -> dict[str, Any]:
    return {
        "Name": version.get("name", ""),
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": _validation(version.get("schema")),
        "Subresources": _subresources(version.get("subresources")),
        "AdditionalPrinterColumns": _list(version.get("additionalPrinterColumns"), _column),
        "SelectableFields": _list(
            version.get("selectableFields"), lambda one: {"JSONPath": one.get("jsonPath", "")}
        ),
    }


def _list(found: list[Tree] | None, render: Any) -> Any:
    return [render(one) for one in found] if found else None


def _validation(found: Tree | None) -> Any:
    if found is None:
        return None
    inner = found.get("openAPIV3Schema")
    return {"OpenAPIV3Schema": None if inner is None else schema(inner)}


def _subresources(found: Tree | None) -> Any:
    if found is None:
        return None
    scale = found.get("scale")
    return {
        "Status": None if found.get("status") is None else {},
        "Scale": None
        if scale is None
        else {
            "SpecReplicasPath": scale.get("specReplicasPath", ""),
            "StatusReplicasPath": scale.get("statusReplicasPath", ""),
            "LabelSelectorPath": scale.get("labelSelectorPath"),
        },
    }


def _column(column: Tree) -> dict[str, Any]:
    return {
        "Name": column.get("name", ""),
        "Type": column.get("type", ""),
        "Format": column.get("format", ""),
        "Description": column.get("description", ""),
        "Priority": column.get("priority", 0),
        "JSONPath": column.get("jsonPath", ""),
    }


def rule(found: Tree) -> dict[str, Any]:
    return {
        "Rule": found.get("rule", ""),
        "Message": found.get("message", ""),
        "MessageExpression": found.get("messageExpression", ""),
        "Reason": found.get("reason"),
        "FieldPath": found.get("fieldPath", ""),
        "OptionalOldSelf": found.get("optionalOldSelf"),
    }


def schema(found: Tree) -> dict[str, Any]:
    return {name: _word(kind, found.get(key)) for name, key, kind in WORDS}


# (Go's name, the name on the wire, what it is), in the order of Go's struct
WORDS = (
    ("ID", "id", "text"),
    ("Schema", "$schema", "text"),
    ("Ref", "$ref", "pointer"),
    ("Description", "description", "text"),
    ("Type", "type", "text"),
    ("Nullable", "nullable", "flag"),
    ("Format", "format", "text"),
    ("Title", "title", "text"),
    ("Default", "default", "pointer"),
    ("Maximum", "maximum", "pointer"),
    ("ExclusiveMaximum", "exclusiveMaximum", "flag"),
    ("Minimum", "minimum", "pointer"),
    ("ExclusiveMinimum", "exclusiveMinimum", "flag"),
    ("MaxLength", "maxLength", "pointer"),
    ("MinLength", "minLength", "pointer"),
    ("Pattern", "pattern", "text"),
    ("MaxItems", "maxItems", "pointer"),
    ("MinItems", "minItems", "pointer"),
    ("UniqueItems", "uniqueItems", "flag"),
    ("MultipleOf", "multipleOf", "pointer"),
    ("Enum", "enum", "pointer"),
    ("MaxProperties", "maxProperties", "pointer"),
    ("MinProperties", "minProperties", "pointer"),
    ("Required", "required", "pointer"),
    ("Items", "items", "items"),
    ("AllOf", "allOf", "schemas"),
    ("OneOf", "oneOf", "schemas"),
    ("AnyOf", "anyOf", "schemas"),
    ("Not", "not", "schema"),
    ("Properties", "properties", "named"),
    ("AdditionalProperties", "additionalProperties", "or bool"),
    ("PatternProperties", "patternProperties", "named"),
    ("Dependencies", "dependencies", "or strings"),
    ("AdditionalItems", "additionalItems", "or bool"),
    ("Definitions", "definitions", "named"),
    ("ExternalDocs", "externalDocs", "docs"),
    ("Example", "example", "pointer"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", "pointer"),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", "flag"),
    ("XIntOrString", "x-kubernetes-int-or-string", "flag"),
    ("XListMapKeys", "x-kubernetes-list-map-keys", "pointer"),
    ("XListType", "x-kubernetes-list-type", "pointer"),
    ("XMapType", "x-kubernetes-map-type", "pointer"),
    ("XValidations", "x-kubernetes-validations", "rules"),
)


def _word(kind: str, value: Any) -> Any:
    if kind == "text":
        return value or ""
    if kind == "flag":
        return bool(value)
    if value is None or kind == "pointer":
        return value
    return _NESTED[kind](value)


def _items(value: Any) -> Any:
    is_list = isinstance(value, list)
    return {
        "Schema": None if is_list else schema(value),
        "JSONSchemas": [schema(one) for one in value] if is_list else None,
    }


def _or_bool(value: Any) -> Any:
    is_bool = isinstance(value, bool)
    return {"Allows": value if is_bool else True, "Schema": None if is_bool else schema(value)}


def _or_strings(value: Tree) -> Any:
    return {
        key: {"Schema": None, "Property": one}
        if isinstance(one, list)
        else {"Schema": schema(one), "Property": None}
        for key, one in sorted(value.items())
    }


_NESTED: dict[str, Any] = {
    "schema": schema,
    "schemas": lambda value: [schema(one) for one in value],
    "named": lambda value: {key: schema(one) for key, one in sorted(value.items())},
    "rules": lambda value: [rule(one) for one in value],
    "docs": lambda value: {"Description": value.get("description", ""), "URL": value.get("url", "")},
    "items": _items,
    "or bool": _or_bool,
    "or strings": _or_strings,
}

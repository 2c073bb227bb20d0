"""Schemas that are refused, each with the causes that upstream gives; what the recordings have not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apis.apiextensions.definitions import AT, COUNT, TEXT, definition, refused, version, with_fields

ITEMS = {"type": "array", "items": TEXT}
PAIR = {"type": "object", "properties": {"k": TEXT, "v": COUNT}, "required": ["k"]}
KEYED = {"type": "array", "items": PAIR, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
EMBEDDED = {"type": "object", "x-kubernetes-embedded-resource": True}
FIELD = f"{AT}.properties[f]"


@pytest.mark.parametrize(
    ("field", "causes"),
    [
        (TEXT, []),
        ({**TEXT, "id": "x"}, ["id: Forbidden: id is not supported"]),
        ({**TEXT, "$ref": "x"}, ["$ref: Forbidden: $ref is not supported"]),
        ({**ITEMS, "uniqueItems": True},
         ["uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"]),
        ({**PAIR, "additionalProperties": TEXT},
         ["additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"]),
        ({"type": "array", "items": [TEXT]}, ["items: Forbidden: items must be a schema object and not an array"]),
        ({**TEXT, "allOf": [{"type": "string"}]},
         ["allOf[0].type: Forbidden: must be empty to be structural"]),
        ({**TEXT, "not": {"default": "x", "title": "t", "nullable": True}},
         ["not.default: Forbidden: must be undefined to be structural",
          "not.nullable: Forbidden: must be false to be structural",
          "not.title: Forbidden: must be empty to be structural"]),
        ({**PAIR, "anyOf": [{"properties": {"metadata": {"minProperties": 1}}}]},
         ["anyOf[0].properties[metadata]: Forbidden: must not be specified in a nested context"]),
        ({"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]}, []),
        ({"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
         ["x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is "
          "true"]),
        ({**EMBEDDED, "properties": {"kind": COUNT}},
         ['properties[kind].type: Invalid value: "integer": must be string']),
        ({**EMBEDDED, "additionalProperties": TEXT, "properties": {}},
         ["additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set",
          "properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without "
          "x-kubernetes-preserve-unknown-fields"]),
        ({**KEYED, "items": {**PAIR, "nullable": True}},
         ["items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map"]),
        ({**KEYED, "x-kubernetes-list-map-keys": ["v"]},
         ["items.properties[v].default: Required value: this property is in x-kubernetes-list-map-keys, so it must "
          "have a default or be a required property"]),
        ({**KEYED, "items": {**PAIR, "properties": {"k": {**TEXT, "nullable": True}}}},
         ["items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be "
          "nullable"]),
        ({**KEYED, "items": {**PAIR, "properties": {"k": {"type": "object"}}}},
         ['items.properties[k].type: Invalid value: "object": must be a scalar type if parent array\'s '
          "x-kubernetes-list-type is map"]),
        ({"type": "array", "items": PAIR, "x-kubernetes-list-type": "set"},
         ["items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with "
          "x-kubernetes-list-type=set"]),
        ({**TEXT, "x-kubernetes-list-type": "set"},
         ['type: Invalid value: "string": must be array if x-kubernetes-list-type is specified']),
        ({**TEXT, "default": 1}, ['default: Invalid value: "integer":  in body must be of type string: "integer"']),
        ({**KEYED, "default": [{"k": "a"}, {"k": "a"}]}, ['default[1]: Duplicate value: {"k":"a"}']),
        ({**TEXT, "default": "a", "x-kubernetes-validations": [{"rule": "self == 'b'", "message": "m"}]},
         ['default: Invalid value: "a": m']),
        ({**EMBEDDED, "x-kubernetes-preserve-unknown-fields": True, "default": {"kind": "Pod"}},
         ["default.apiVersion: Required value"]),
    ],
)  # fmt: skip
def test_fields_are_refused_in_upstreams_words(field: Any, causes: list[str]) -> None:
    assert refused(with_fields(f=field)) == [f"{FIELD}.{cause}" for cause in causes]


@pytest.mark.parametrize(
    ("root", "causes"),
    [
        ({"type": "object", "nullable": True}, [".nullable: Forbidden: nullable cannot be true at the root"]),
        ({"type": "object", "additionalProperties": TEXT},
         [".additionalProperties: Forbidden: must not be used at the root"]),
        ({"type": "object", "properties": {"metadata": {**PAIR, "required": []}}},
         [".properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata "
          "is implicitly specified"]),
        ({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string",
          "default": "x"}}}}},
         [".properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"]),
        ({"type": "object", "anyOf": [{"properties": {"a": {"minLength": 1}}}]},
         [".properties[a]: Required value: because it is defined in "
          "spec.validation.openAPIV3Schema.anyOf[0].properties[a]"]),
    ],
)  # fmt: skip
def test_the_root_has_rules_of_its_own(root: Any, causes: list[str]) -> None:
    assert refused(definition(version(schema=root))) == [f"{AT}{cause}" for cause in causes]


def test_beside_a_status_the_root_says_little() -> None:
    crd = definition(version(schema={"type": "object", "maxProperties": 1}, subresources={"status": {}}))

    (cause,) = refused(crd)
    assert cause.startswith(f'{AT}: Invalid value: {{"ID":""')
    assert cause.endswith("fields are allowed at the root of the schema if the status subresource is enabled")


def test_schemas_that_differ_are_named_by_their_version() -> None:
    bad = {"type": "object", "properties": {"f": {}}}

    assert refused(definition(version(), version("v2", bad))) == [
        "spec.versions[1].schema.openAPIV3Schema.properties[f].type: Required value: must not be empty for specified "
        "object fields"
    ]

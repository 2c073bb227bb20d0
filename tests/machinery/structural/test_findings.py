from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.structural import Structural

TEXT = {"type": "string"}


def told(field: Any, value: Any, old: Any = None, **root: Any) -> list[str]:
    schema = {"type": "object", "properties": {"f": field}, **root}
    before = None if old is None else {"f": old}
    return [str(cause) for cause in Structural(schema).validate({"f": value}, before)]


ONLY_ONE = "must validate one and only one schema (oneOf)"
INT32 = {"type": "integer", "format": "int32"}


@pytest.mark.parametrize(
    ("field", "value", "causes"),
    [
        (
            {"type": "integer"},
            "x",
            ['f: Invalid value: "string": f in body must be of type integer: "string"'],
        ),
        ({"type": "integer"}, None, ['f: Invalid value: "null": f in body must be of type integer: "null"']),
        (
            {"type": "integer"},
            True,
            ['f: Invalid value: "boolean": f in body must be of type integer: "boolean"'],
        ),
        ({"type": "integer"}, 1.0, []),
        (
            {"type": "integer"},
            1.5,
            [
                'f: Invalid value: "number": f in body must be of type integer: "number"',
                '<nil>: Invalid value: "": Checked value must be of type integer (default format) in f',
            ],
        ),
        (
            INT32,
            2**31,
            ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in f'],
        ),
        (INT32, {}, ['f: Invalid value: "": f in body must be of type int32: ""']),
        ({"type": "number"}, 1, []),
        (
            {"type": "boolean"},
            1,
            ['f: Invalid value: "integer": f in body must be of type boolean: "integer"'],
        ),
        ({"type": "object"}, [], ['f: Invalid value: "array": f in body must be of type object: "array"']),
        (
            {"type": "array", "items": TEXT},
            {},
            ['f: Invalid value: "object": f in body must be of type array: "object"'],
        ),
        ({"x-kubernetes-int-or-string": True}, "80%", []),
        ({"x-kubernetes-int-or-string": True}, 80, []),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            ['f: Invalid value: "boolean": f in body must be of type integer,string: "boolean"'],
        ),
        ({**TEXT, "nullable": True}, None, []),
        ({**TEXT, "enum": ["a", "b"]}, "c", ['f: Unsupported value: "c": supported values: "a", "b"']),
        ({"type": "integer", "enum": [1, 2]}, 3, ['f: Unsupported value: 3: supported values: "1", "2"']),
        ({**TEXT, "maxLength": 2}, "abc", ["f: Too long: may not be more than 2 bytes"]),
        ({**TEXT, "minLength": 2}, "a", ['f: Invalid value: "a": f in body should be at least 2 chars long']),
        ({**TEXT, "maxLength": 2}, "éé", []),
        ({**TEXT, "pattern": "^a$"}, "b", ["f: Invalid value: \"b\": f in body should match '^a$'"]),
        (
            {**TEXT, "format": "date-time"},
            "today",
            ['f: Invalid value: "today": f in body must be of type date-time: "today"'],
        ),
        ({**TEXT, "format": "of-my-own"}, "today", []),
        (
            {"type": "integer", "maximum": 5},
            6,
            ["f: Invalid value: 6: f in body should be less than or equal to 5"],
        ),
        (
            {"type": "integer", "maximum": 5, "exclusiveMaximum": True},
            5,
            ["f: Invalid value: 5: f in body should be less than 5"],
        ),
        (
            {"type": "number", "minimum": 0.5},
            0.25,
            ["f: Invalid value: 0.25: f in body should be greater than or equal to 0.5"],
        ),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            1,
            ["f: Invalid value: 1: f in body should be greater than 1"],
        ),
        ({"type": "number", "multipleOf": 0.1}, 0.3, []),
        (
            {"type": "integer", "multipleOf": 2},
            3,
            ["f: Invalid value: 3: f in body should be a multiple of 2"],
        ),
        (
            {"type": "array", "items": TEXT, "maxItems": 1},
            ["a", "b"],
            ["f: Too many: 2: must have at most 1 item"],
        ),
        (
            {"type": "array", "items": TEXT, "minItems": 1},
            [],
            ["f: Invalid value: 0: f in body should have at least 1 items"],
        ),
        (
            {"type": "array", "items": TEXT},
            ["a", 1],
            ['f[1]: Invalid value: "integer": f[1] in body must be of type string: "integer"'],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {"k": "x"},
            ['f.k: Invalid value: "string": f.k in body must be of type integer: "string"'],
        ),
        (
            {"type": "object", "minProperties": 1},
            {},
            ["f: Invalid value: 0: f in body should have at least 1 properties"],
        ),
        (
            {"type": "object", "maxProperties": 1},
            {"a": 1, "b": 2},
            ["f: Too many: 2: must have at most 1 item"],
        ),
        ({"type": "object", "required": ["a"]}, {}, ["f.a: Required value"]),
        (
            {**TEXT, "anyOf": [{"pattern": "^a"}, {"maxLength": 1}]},
            "bb",
            [
                '<nil>: Invalid value: "": "f" must validate at least one schema (anyOf)',
                "f: Invalid value: \"bb\": f in body should match '^a'",
            ],
        ),
        (
            {**TEXT, "oneOf": [{"pattern": "a"}, {"pattern": "b"}]},
            "ab",
            [f'<nil>: Invalid value: "": "f" {ONLY_ONE}. Found 2 valid alternatives'],
        ),
        (
            {**TEXT, "allOf": [{"maxLength": 1}, {"pattern": "a"}]},
            "aa",
            [
                "f: Too long: may not be more than 1 bytes",
                '<nil>: Invalid value: "": "f" must validate all the schemas (allOf)',
            ],
        ),
        (
            {**TEXT, "not": {"enum": ["x"]}},
            "x",
            ['<nil>: Invalid value: "": "f" must not validate the schema (not)'],
        ),
    ],
)
def test_values_are_refused_in_upstreams_words(field: Any, value: Any, causes: list[str]) -> None:
    assert told(field, value) == causes


def test_a_missing_field_of_the_root_is_named_without_a_path() -> None:
    assert [str(c) for c in Structural({"type": "object", "required": ["spec"]}).validate({})] == [
        "spec: Required value"
    ]


def test_of_alternatives_the_one_that_came_furthest_is_told() -> None:
    branches = [{"required": ["x"]}, {"properties": {"a": {"maxLength": 1}, "b": {"minimum": 3}}}]
    field = {"type": "object", "properties": {"a": TEXT, "b": {"type": "integer"}}, "anyOf": branches}

    assert told(field, {"a": "aa", "b": 5})[1:] == ["f.a: Too long: may not be more than 1 bytes"]


ITEM = {"type": "object", "properties": {"k": TEXT, "v": {"type": "integer", "maximum": 1}}}
PORT = {"type": "object", "properties": {"n": TEXT, "p": {"type": "integer", "multipleOf": 2}, "v": TEXT}}
PORTS = {
    "type": "array",
    "items": PORT,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["n", "p"],
}
NUMBERS = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 5}}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
KEYED = {"type": "array", "items": ITEM, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}


@pytest.mark.parametrize(
    ("field", "new", "old", "refused"),
    [
        ({**TEXT, "maxLength": 1}, "aa", "aa", False),
        ({**TEXT, "maxLength": 1}, "bb", "aa", True),
        (KEYED, [{"k": "b", "v": 1}, {"k": "a", "v": 5}], [{"k": "a", "v": 5}], False),
        ({**KEYED, "maxItems": 1}, [{"k": "b"}, {"k": "a"}], [{"k": "a"}, {"k": "b"}], False),
        ({**KEYED, "maxItems": 1}, [{"k": "b"}, {"k": "a"}], [{"k": "a"}, {"k": "c"}], True),
        ({"type": "array", "items": TEXT, "maxItems": 1}, ["a", "b"], ["b", "a"], True),
        (KEYED, [{"k": "a", "v": 6}], [{"k": "a", "v": 5}], True),
        ({"type": "array", "items": {**TEXT, "maxLength": 1}}, ["aa", "b"], ["aa"], True),
        (
            {"type": "array", "items": {**TEXT, "maxLength": 1}, "x-kubernetes-list-type": "set"},
            ["aa", "b"],
            ["aa"],
            True,
        ),
        (
            PORTS,
            [{"n": "b", "p": 3, "v": "y"}, {"n": "a", "p": 1}],
            [{"n": "a", "p": 1}, {"n": "b", "p": 3}],
            False,
        ),
        (PORTS, [{"n": "a", "p": 3}], [{"n": "a", "p": 1}], True),
        ({**NUMBERS, "maxProperties": 1}, {"a": 9, "b": 9}, {"a": 9, "b": 9}, False),
        ({**NUMBERS, "maxProperties": 1}, {"a": 9, "b": 8}, {"a": 9, "b": 9}, True),
        ({**NUMBERS, "minProperties": 2}, {"a": 9}, {"a": 9, "b": 9}, True),
        (NUMBERS, {"a": 1, "b": 9}, {"a": 1, "b": 2}, False),
        (NUMBERS, {"a": 2, "b": 9}, {"a": 1, "b": 2}, True),
        ({"type": "array", "items": NUMBERS}, [{"a": 1}], [{"a": 1}], False),
        ({"type": "array", "items": NUMBERS}, [{"a": 1, "b": 9}], [{"a": 1}], True),
        ({**TEXT, "format": "byte"}, "no byte", "no byte", False),
        ({**TEXT, "enum": ["A"]}, "D", "C", True),
        ({**OPEN, "required": ["a"]}, {"b": 1}, {"b": 1}, False),
        ({**OPEN, "required": ["a"]}, {"b": 2}, {"b": 1}, True),
        (
            {**OPEN, "allOf": [{"properties": {"a": {"maximum": 1}}}]},
            {"a": 5, "b": 2},
            {"a": 5, "b": 1},
            True,
        ),
        ({**OPEN, "not": {"required": ["a"]}}, {"a": 5, "b": 2}, {"a": 5, "b": 1}, True),
    ],
)
def test_only_what_has_changed_is_refused_on_an_update(field: Any, new: Any, old: Any, refused: bool) -> None:
    assert bool(told(field, new, old)) is refused


def test_repeated_items_are_not_refused_where_they_were_before() -> None:
    field = {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}

    assert told(field, ["a", "a"]) == ['f[1]: Duplicate value: "a"']
    assert told(field, ["b", "b"], ["a", "a"]) == []


def test_items_with_the_same_keys_are_told_by_their_keys() -> None:
    keys = ["k", "v"]
    field = {**KEYED, "x-kubernetes-list-map-keys": keys}

    assert told(field, [{"k": "a"}, {"k": "a", "v": 1}, {"k": "a"}]) == ['f[2]: Duplicate value: {"k":"a"}']


def test_a_list_of_type_map_has_objects_only() -> None:
    causes = told({**KEYED, "items": {"x-kubernetes-preserve-unknown-fields": True}}, ["x"])

    assert causes == ['f[0]: Invalid value: "x": must be an object for an array of list-type map']


POD = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    ("pod", "causes"),
    [
        ({"apiVersion": "v1", "kind": "Pod"}, []),
        ({}, ["f.apiVersion: Required value", "f.kind: Required value"]),
        ({"apiVersion": "a/b/c", "kind": "Pod"},
         ['f.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c']),
        ({"apiVersion": 1, "kind": "Pod"}, ["f.apiVersion: Invalid value: 1: must be a string"]),
    ],
)  # fmt: skip
def test_an_embedded_resource_says_what_it_is(pod: Any, causes: list[str]) -> None:
    assert told(POD, pod) == causes

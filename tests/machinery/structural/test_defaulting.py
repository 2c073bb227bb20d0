from __future__ import annotations

from typing import Any

from timonel.machinery.structural import Structural

COUNT = {"type": "integer", "default": 3}


def defaulted(schema: Any, obj: Any) -> Any:
    Structural({"type": "object", **schema}).default(obj)
    return obj


def test_absent_fields_get_their_default_and_others_keep_their_value() -> None:
    schema = {"properties": {"a": COUNT, "b": COUNT}}

    assert defaulted(schema, {"b": 5}) == {"a": 3, "b": 5}


def test_defaults_below_an_absent_object_are_not_reached() -> None:
    schema = {"properties": {"spec": {"type": "object", "properties": {"a": COUNT}}}}

    assert defaulted(schema, {}) == {}
    assert defaulted(schema, {"spec": {}}) == {"spec": {"a": 3}}


def test_a_default_is_filled_in_itself_and_never_shared() -> None:
    schema = {"properties": {"spec": {"type": "object", "default": {}, "properties": {"a": COUNT}}}}
    structural = Structural({"type": "object", **schema})
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    structural.default(first)
    first["spec"]["a"] = 9
    structural.default(second)

    assert second == {"spec": {"a": 3}}


def test_items_and_values_of_maps_are_filled_in() -> None:
    item = {"type": "object", "properties": {"a": COUNT}}
    schema = {
        "properties": {
            "list": {"type": "array", "items": item},
            "map": {"type": "object", "additionalProperties": item},
        }
    }

    assert defaulted(schema, {"list": [{}], "map": {"k": {}}}) == {"list": [{"a": 3}], "map": {"k": {"a": 3}}}


def test_a_null_counts_as_absent_unless_it_is_a_value() -> None:
    schema = {"properties": {"a": COUNT, "b": {**COUNT, "nullable": True}}}

    assert defaulted(schema, {"a": None, "b": None}) == {"a": 3, "b": None}


def test_a_null_item_is_replaced_by_the_default_of_items() -> None:
    schema = {"properties": {"l": {"type": "array", "items": COUNT}}}

    assert defaulted(schema, {"l": [None, 1]}) == {"l": [3, 1]}


def test_values_of_another_type_are_left_to_validation() -> None:
    schema = {"properties": {"spec": {"type": "object", "properties": {"a": COUNT}}}}

    assert defaulted(schema, {"spec": "text"}) == {"spec": "text"}

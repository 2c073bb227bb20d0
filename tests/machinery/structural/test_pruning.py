from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.structural import Structural

TEXT = {"type": "string"}
KEEP = {"x-kubernetes-preserve-unknown-fields": True}


def pruned(schema: Any, obj: Any) -> tuple[Any, list[str]]:
    found = Structural({"type": "object", **schema}).prune(obj)
    return obj, found


def test_unknown_fields_go_and_are_named_in_order() -> None:
    schema = {"properties": {"spec": {"type": "object", "properties": {"a": TEXT}}}}

    assert pruned(schema, {"spec": {"b": 1, "a": "x"}, "also": 2}) == (
        {"spec": {"a": "x"}},
        ["also", "spec.b"],
    )


def test_what_every_object_has_is_known() -> None:
    obj = {"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a", "odd": 1}}

    assert pruned({}, dict(obj)) == (obj, [])


def test_items_and_values_of_maps_are_pruned_in_place() -> None:
    item = {"type": "object", "properties": {"a": TEXT}}
    schema = {
        "properties": {
            "list": {"type": "array", "items": item},
            "map": {"type": "object", "additionalProperties": item},
        }
    }

    obj, found = pruned(schema, {"list": [{"a": "x"}, {"b": 1}], "map": {"k": {"b": 1}}})
    assert obj == {"list": [{"a": "x"}, {}], "map": {"k": {}}}
    assert found == ["list[1].b", "map.k.b"]


def test_unknown_fields_stay_where_the_schema_says_so_but_not_below_what_it_knows() -> None:
    schema = {"properties": {"free": {**KEEP, "type": "object", "properties": {"a": {"type": "object"}}}}}

    obj, found = pruned(schema, {"free": {"x": {"y": 1}, "a": {"z": 1}}})
    assert obj == {"free": {"x": {"y": 1}, "a": {}}}
    assert found == ["free.a.z"]


def test_a_list_in_which_unknown_fields_stay_keeps_them_in_its_items() -> None:
    schema = {"properties": {"l": {**KEEP, "type": "array", "items": {"type": "object"}}}}

    assert pruned(schema, {"l": [{"a": 1}]}) == ({"l": [{"a": 1}]}, [])


def test_an_embedded_resource_has_what_every_object_has() -> None:
    schema = {
        "properties": {"pod": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}}}
    }

    obj, found = pruned(
        schema, {"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}}
    )
    assert obj == {"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}}
    assert found == ["pod.spec"]


@pytest.mark.parametrize(
    ("field", "kept"),
    [({**TEXT, "nullable": True}, True), (TEXT, False), ({**TEXT, "default": "x"}, True)],
)
def test_a_null_stays_where_it_is_a_value_or_has_a_default_to_make_room_for(field: Any, kept: bool) -> None:
    obj, found = pruned({"properties": {"a": field}}, {"a": None})

    assert (obj, found) == ({"a": None} if kept else {}, [])


def test_a_version_without_a_schema_keeps_everything() -> None:
    obj = {"any": {"thing": [{"at": "all"}]}}

    assert Structural(None).prune(obj) == []
    assert obj == {"any": {"thing": [{"at": "all"}]}}


def test_objects_where_the_schema_has_a_scalar_are_emptied() -> None:
    assert pruned({"properties": {"a": TEXT}}, {"a": {"b": 1}}) == ({"a": {}}, ["a.b"])

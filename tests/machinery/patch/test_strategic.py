from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.patch.json import PatchFailed, PatchMalformed
from timonel.machinery.patch.strategic import strategic_merge_patch

TYPES: dict[str, dict[str, Any]] = {
    "Root": {
        "fields": {
            "items": {"t": "list", "of": {"t": "ref", "ref": "Item"}, "strategy": "merge", "merge": "name"},
            "words": {"t": "list", "of": {"t": "string"}, "strategy": "merge"},
            "whole": {"t": "list", "of": {"t": "ref", "ref": "Item"}},
            "box": {"t": "ref", "ref": "Box", "strategy": "retainKeys"},
            "labels": {"t": "map", "of": {"t": "string"}},
        }
    },
    "Item": {"fields": {"name": {"t": "string"}, "value": {"t": "string"}, "env": {
        "t": "list", "of": {"t": "ref", "ref": "Item"}, "strategy": "merge", "merge": "name"}}},
    "Box": {"fields": {"type": {"t": "string"}, "rolling": {"t": "any"}}},
}  # fmt: skip


def patched(document: dict[str, Any], patch: dict[str, Any]) -> Any:
    before = copy.deepcopy(document)
    found = strategic_merge_patch(document, patch, "Root", TYPES.__getitem__)
    assert document == before
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [item["name"] for item in found["items"]]


A, B, C = {"name": "a", "value": "1"}, {"name": "b", "value": "2"}, {"name": "c"}


def test_items_merge_by_their_key() -> None:
    found = patched({"items": [A, B]}, {"items": [{"name": "b", "value": "9"}]})

    assert found == {"items": [A, {"name": "b", "value": "9"}]}


def test_new_items_stand_before_those_the_patch_does_not_name() -> None:
    assert names(patched({"items": [A, B]}, {"items": [C]})) == ["c", "a", "b"]
    assert names(patched({"items": [A, B]}, {"items": [{"name": "a"}, C]})) == ["a", "c", "b"]


@given(
    st.lists(st.sampled_from("abcd"), max_size=6),
    st.lists(st.sampled_from("abcd"), max_size=3),
    st.sampled_from("abcde"),
)
def test_one_item_finds_the_place_that_it_has_among_others(old: list[str], gone: list[str], one: str) -> None:
    before = [{"name": name} for name in old]
    removed = [{"name": name, "$patch": "delete"} for name in dict.fromkeys(gone)]

    found = names(patched({"items": before}, {"items": [*removed, {"name": one}]}))

    rest = [name for name in old if name not in gone and name != one]
    assert [name for name in found if name != one] == rest
    if old.count(one) == 1 and one not in gone and len(set(rest)) == len(rest):
        assert found.index(one) == len([name for name in old[: old.index(one)] if name not in gone])
    elif one not in old:
        assert found[0] == one


def test_an_item_is_deleted_by_its_key() -> None:
    assert patched({"items": [A, B]}, {"items": [{"name": "a", "$patch": "delete"}]}) == {"items": [B]}


def test_a_list_is_replaced_on_demand() -> None:
    assert patched({"items": [A, B]}, {"items": [{"$patch": "replace"}, C]}) == {"items": [C]}


def test_an_order_is_followed() -> None:
    patch = {"$setElementOrder/items": [{"name": "b"}, {"name": "a"}]}

    assert names(patched({"items": [A, B]}, patch)) == ["b", "a"]
    assert names(patched({"items": [A, B, C]}, {**patch, "items": [{"name": "a", "value": "7"}]})) == [
        "b",
        "a",
        "c",
    ]


def test_items_outside_the_order_are_refused() -> None:
    with pytest.raises(PatchFailed, match=r"The order in patch list:\n\[map\[name:c\]\]\n doesn't match"):
        patched({"items": [A]}, {"$setElementOrder/items": [{"name": "a"}], "items": [C]})


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(PatchFailed, match=r"map: map\[value:1\] does not contain declared merge key: name"):
        patched({"items": [A]}, {"items": [{"value": "1"}]})


def test_plain_values_join_a_list_once_and_leave_it_by_directive() -> None:
    assert sorted(patched({"words": ["a", "b"]}, {"words": ["b", "c"]})["words"]) == ["a", "b", "c"]
    assert patched({"words": ["a", "b"]}, {"$deleteFromPrimitiveList/words": ["a"]}) == {"words": ["b"]}


def test_a_list_without_a_strategy_is_replaced() -> None:
    assert patched({"whole": [A, B]}, {"whole": [C]}) == {"whole": [C]}


def test_null_removes_and_maps_merge() -> None:
    assert patched({"labels": {"a": "1", "b": "2"}}, {"labels": {"a": None, "c": "3"}}) == {
        "labels": {"b": "2", "c": "3"}
    }


def test_only_retained_keys_stay() -> None:
    document = {"box": {"type": "x", "rolling": {"a": 1}}}

    assert patched(document, {"box": {"$retainKeys": ["type"], "type": "y"}}) == {"box": {"type": "y"}}
    with pytest.raises(PatchFailed, match="doesn't match retainKeys list"):
        patched(document, {"box": {"$retainKeys": ["type"], "rolling": {}}})


def test_a_map_is_replaced_or_emptied_by_directive() -> None:
    document = {"box": {"type": "x", "rolling": 1}}

    assert patched(document, {"box": {"$patch": "replace", "type": "y"}}) == {"box": {"type": "y"}}
    assert patched(document, {"box": {"$patch": "delete"}}) == {"box": {}}


def test_directives_in_what_is_new_leave_no_trace() -> None:
    patch = {"items": [{"name": "n", "env": [{"name": "x", "$patch": "delete"}, {"name": "y"}]}]}

    assert patched({}, patch) == {"items": [{"name": "n", "env": [{"name": "y"}]}]}


def test_an_unknown_directive_is_refused() -> None:
    with pytest.raises(PatchMalformed):
        patched({"items": [A]}, {"$setElementOrder/items": 3})
    with pytest.raises(PatchFailed, match="unknown patch type: bogus"):
        patched({"box": {}}, {"box": {"$patch": "bogus"}})

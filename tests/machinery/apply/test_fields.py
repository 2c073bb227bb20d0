from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.apply import sets
from timonel.machinery.apply.fields import LAST_APPLIED, ApplyConflict, Fields
from timonel.machinery.apply.typed import Nodes
from timonel.machinery.errors import BadRequest, StatusError

Object = dict[str, Any]

TYPES: dict[str, dict[str, Any]] = {
    "Thing": {
        "fields": {
            "apiVersion": {"t": "string"},
            "kind": {"t": "string"},
            "metadata": {"t": "ref", "ref": "Meta"},
            "data": {"t": "map", "of": {"t": "string"}},
            "items": {"t": "list", "of": {"t": "ref", "ref": "Item"}, "list": "map", "keys": ["name"]},
            "ports": {
                "t": "list",
                "of": {"t": "ref", "ref": "Port"},
                "list": "map",
                "keys": ["port", "protocol"],
            },
            "tags": {"t": "list", "of": {"t": "string"}, "list": "set"},
            "args": {"t": "list", "of": {"t": "string"}},
            "whole": {"t": "map", "of": {"t": "string"}, "map": "atomic"},
            "free": {"t": "raw"},
            "size": {"t": "int32"},
            "status": {"t": "ref", "ref": "Status"},
        }
    },
    "Meta": {
        "fields": {
            "name": {"t": "string"},
            "namespace": {"t": "string"},
            "labels": {"t": "map", "of": {"t": "string"}},
            "annotations": {"t": "map", "of": {"t": "string"}},
            "managedFields": {"t": "list", "of": {"t": "any"}},
        }
    },
    "Item": {"fields": {"name": {"t": "string"}, "value": {"t": "string"}, "size": {"t": "int32"}}},
    "Port": {
        "fields": {
            "port": {"t": "int32"},
            "protocol": {"t": "string", "default": "TCP"},
            "target": {"t": "int32"},
        }
    },
    "Status": {"fields": {"phase": {"t": "string"}}},
}
FIELDS = Fields(
    Nodes(TYPES.__getitem__).struct("Thing"),
    group="x.io",
    version="v1",
    kind="Thing",
    new={"metadata": {}, "status": {}},
    ignored={
        "": sets.of_paths(("f:status",)),
        "status": sets.of_paths(*((f"f:{n}",) for n in ("data", "items", "size"))),
    },
)


def thing(**fields: Any) -> Object:
    return {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}, **fields}


def created(manager: str = "maker", **fields: Any) -> Object:
    obj = thing(**fields)
    FIELDS.record_update(None, obj, manager=manager, now=100)
    return obj


def updated(old: Object, manager: str, now: float = 200, subresource: str = "", **fields: Any) -> Object:
    new = copy.deepcopy({**old, **fields})
    FIELDS.record_update(old, new, manager=manager, now=now, subresource=subresource)
    return new


def applied(
    live: Object | None, manager: str = "one", *, force: bool = False, now: float = 300, **fields: Any
) -> Object:
    before = copy.deepcopy(live)
    found = FIELDS.apply(live, thing(**fields), manager=manager, force=force, now=now)
    assert live == before
    return found


def owned(obj: Object) -> dict[str, Any]:
    """Manager -> fieldsV1."""
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


# ---- updates


def test_a_creator_owns_what_it_sent() -> None:
    obj = created(
        data={"k": "v"}, items=[{"name": "x", "value": "1"}], tags=["t"], args=["a"], whole={"w": "1"}
    )

    assert owned(obj) == {
        "maker": {
            "f:args": {},
            "f:data": {".": {}, "f:k": {}},
            "f:items": {".": {}, 'k:{"name":"x"}': {".": {}, "f:name": {}, "f:value": {}}},
            "f:tags": {".": {}, 'v:"t"': {}},
            "f:whole": {},
        }
    }


def test_items_with_the_same_key_are_owned_as_one() -> None:
    obj = created(items=[{"name": "x", "value": "1"}, {"name": "x", "value": "2"}])

    assert owned(obj) == {"maker": {"f:items": {".": {}, 'k:{"name":"x"}': {}}}}


def test_an_entry_tells_who_when_and_how() -> None:
    (entry,) = created(data={"k": "v"})["metadata"]["managedFields"]

    assert {k: v for k, v in entry.items() if k != "fieldsV1"} == {
        "manager": "maker",
        "operation": "Update",
        "apiVersion": "x.io/v1",
        "time": "1970-01-01T00:01:40Z",
        "fieldsType": "FieldsV1",
    }


def test_who_changes_a_field_takes_it_over() -> None:
    obj = updated(created(data={"k": "v", "l": "m"}), "writer", data={"k": "w", "l": "m"})

    assert owned(obj) == {"maker": {"f:data": {".": {}, "f:l": {}}}, "writer": {"f:data": {"f:k": {}}}}


def test_what_is_removed_is_nobodys() -> None:
    obj = updated(created(data={"k": "v", "l": "m"}), "writer", data={"l": "m"})

    assert owned(obj) == {"maker": {"f:data": {".": {}, "f:l": {}}}}


def test_a_write_that_changes_nothing_leaves_the_time_alone() -> None:
    old = created(data={"k": "v"})

    assert updated(old, "maker", now=999)["metadata"] == old["metadata"]


def test_the_main_resource_does_not_own_the_status_nor_status_the_rest() -> None:
    obj = created(data={"k": "v"}, status={"phase": "x"})
    obj = updated(obj, "agent", subresource="status", status={"phase": "y"}, data={"k": "w"})

    assert owned(obj) == {"maker": {"f:data": {".": {}, "f:k": {}}}, "agent": {"f:status": {"f:phase": {}}}}
    assert obj["metadata"]["managedFields"][-1]["subresource"] == "status"


@pytest.mark.parametrize("sent", [[], [{}]])
def test_managed_fields_can_be_reset(sent: list[Any]) -> None:
    old = created(data={"k": "v"})
    obj = updated(old, "writer", metadata={"name": "a", "managedFields": sent})

    assert "managedFields" not in obj["metadata"]
    assert "managedFields" not in updated(obj, "later", data={"k": "w"})["metadata"]


def test_managed_fields_that_make_no_sense_are_put_back() -> None:
    old = created(data={"k": "v"})
    bad = [{"manager": "m", "operation": "Bogus", "apiVersion": "v1", "fieldsType": "FieldsV1"}]

    obj = updated(old, "writer", metadata={"name": "a", "managedFields": bad})

    assert obj["metadata"]["managedFields"] == old["metadata"]["managedFields"]


def test_old_updaters_are_merged_when_there_are_too_many() -> None:
    obj = created("m00", data={"k00": "v"})
    for i in range(1, 13):
        name = f"m{i:02}"
        obj = updated(obj, name, now=200 + i, data={**obj["data"], f"k{i:02}": "v"})

    managers = owned(obj)
    assert len(managers) == 10
    assert managers["ancient-changes"] == {"f:data": {".": {}, **{f"f:k{i:02}": {} for i in range(4)}}}


# ---- apply


def test_an_apply_creates_and_owns_what_it_says() -> None:
    obj = applied(None, data={"k": "v"}, items=[{"name": "x", "value": "1"}])

    assert obj["data"] == {"k": "v"}
    assert owned(obj) == {
        "one": {"f:data": {"f:k": {}}, "f:items": {'k:{"name":"x"}': {".": {}, "f:name": {}, "f:value": {}}}}
    }
    assert obj["metadata"]["managedFields"][0]["operation"] == "Apply"


def test_what_is_no_longer_applied_goes() -> None:
    obj = applied(None, data={"k": "v", "l": "m"}, items=[{"name": "x"}, {"name": "y", "size": 1}])
    obj = applied(obj, data={"k": "v"}, items=[{"name": "y"}])

    assert obj["data"] == {"k": "v"}
    assert obj["items"] == [{"name": "y"}]


def test_what_somebody_else_owns_too_stays() -> None:
    obj = applied(None, data={"k": "v"})
    obj = applied(obj, "two", data={"k": "v"})
    obj = applied(obj, "one", size=1)

    assert obj["data"] == {"k": "v"}
    assert owned(obj) == {"one": {"f:size": {}}, "two": {"f:data": {"f:k": {}}}}


def test_an_item_that_is_no_longer_applied_goes_with_what_others_put_into_it() -> None:
    obj = applied(None, items=[{"name": "x", "value": "1"}])
    obj = updated(obj, "writer", items=[{"name": "x", "value": "1", "size": 3}])
    obj = applied(obj, data={"k": "v"})

    assert not obj["items"]
    assert owned(obj) == {"one": {"f:data": {"f:k": {}}}}


def test_a_change_to_what_others_own_is_a_conflict() -> None:
    obj = updated(applied(None, data={"k": "v"}, size=1), "kubectl-edit", size=2)

    with pytest.raises(ApplyConflict) as caught:
        applied(obj, data={"k": "v"}, size=1)

    assert (
        caught.value.message
        == 'Apply failed with 1 conflict: conflict with "kubectl-edit" using x.io/v1: .size'
    )
    assert caught.value.details["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using x.io/v1',
            "field": ".size",
        }
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    obj = applied(applied(None, "b", data={"k": "v", "l": "m"}), "a", size=1)

    with pytest.raises(ApplyConflict) as caught:
        applied(obj, "c", data={"k": "x", "l": "y"}, size=2)

    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "a":\n- .size\nconflicts with "b":\n- .data.k\n- .data.l'
    )


def test_force_takes_over() -> None:
    obj = applied(applied(None, size=1), "two", force=True, size=2)

    assert obj["size"] == 2
    assert owned(obj) == {"two": {"f:size": {}}}


def test_the_same_value_is_shared() -> None:
    obj = applied(applied(None, size=1), "two", size=1)

    assert owned(obj) == {"one": {"f:size": {}}, "two": {"f:size": {}}}


def test_an_atomic_value_belongs_to_one_manager_as_a_whole() -> None:
    obj = applied(None, whole={"a": "1"}, args=["x"])

    with pytest.raises(ApplyConflict, match=r"\.args"):
        applied(obj, "two", args=["x", "y"])
    assert applied(obj, whole={"b": "2"}, args=["x"])["whole"] == {"b": "2"}


def test_a_key_with_a_default_may_be_left_out() -> None:
    obj = applied(None, ports=[{"port": 80, "protocol": "TCP", "target": 1}])
    obj = applied(obj, ports=[{"port": 80, "target": 2}])

    assert obj["ports"] == [{"port": 80, "target": 2}]


def test_items_keep_the_order_of_the_configuration() -> None:
    obj = applied(None, items=[{"name": "a"}, {"name": "b"}])
    obj = applied(obj, "two", items=[{"name": "c"}, {"name": "b"}])

    assert [i["name"] for i in obj["items"]] == ["a", "c", "b"]


def test_an_object_nobody_manages_belongs_to_a_time_before() -> None:
    with pytest.raises(ApplyConflict, match=r'conflict with "before-first-apply" using x.io/v1: \.size'):
        applied(thing(size=1), size=2)


def test_an_apply_that_changes_nothing_keeps_its_time() -> None:
    first = applied(None, size=1, now=300)

    assert applied(first, size=1, now=400) == first
    assert applied(first, size=2, now=400)["metadata"]["managedFields"][0]["time"] == "1970-01-01T00:06:40Z"


def test_kubectl_takes_over_what_it_applied_from_the_client() -> None:
    last = '{"apiVersion":"x.io/v1","kind":"Thing","metadata":{"name":"a"},"size":1}'
    obj = created("kubectl-client-side-apply", size=1, data={"k": "v"})
    obj["metadata"]["annotations"] = {LAST_APPLIED: last}

    found = applied(obj, "kubectl", size=2)

    assert found["size"] == 2
    assert '"size":2' in found["metadata"]["annotations"][LAST_APPLIED]
    with pytest.raises(ApplyConflict, match=r"\.data\.k"):
        applied(obj, "kubectl", data={"k": "x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Other"}, "invalid object type: x.io/v1, Kind=Other"),
        ({"apiVersion": "v2"}, "invalid object type: /v2, Kind=Thing"),
        ({"metadata": {"name": "a", "managedFields": []}}, "metadata.managedFields must be nil"),
    ],
)
def test_a_configuration_of_something_else_is_refused(change: Object, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        FIELDS.apply(None, {**thing(), **change}, manager="m", force=False, now=1)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"bogus": 1}, ".bogus: field not declared in schema"),
        ({"data": {"k": 1}}, ".data.k: expected string, got &value.valueUnstructured{Value:1}"),
        ({"data": []}, ".data: expected map, got &value.valueUnstructured{Value:[]}"),
        ({"items": [{"name": "x"}, {"name": "x"}]}, '.items: duplicate entries for key [name="x"]'),
        ({"items": {}}, ".items: expected list, got &value.valueUnstructured{Value:map[]}"),
    ],
)
def test_a_configuration_that_does_not_fit_its_type_is_refused(fields: Object, problem: str) -> None:
    with pytest.raises(StatusError) as caught:
        applied(None, **fields)

    assert caught.value.message == f"failed to create typed patch object (/a; x.io/v1, Kind=Thing): {problem}"


words = st.sampled_from(["a", "b", "c"])
configs = st.fixed_dictionaries(
    {},
    optional={
        "data": st.dictionaries(words, words, min_size=1, max_size=3),
        "items": st.lists(
            st.fixed_dictionaries({"name": words}, optional={"value": words}),
            max_size=3,
            unique_by=lambda i: i["name"],
        ),
        "args": st.lists(words, max_size=2),
        "size": st.integers(0, 3),
    },
)


@given(configs, configs)
def test_a_lone_applier_gets_exactly_what_it_applied_last(first: Object, second: Object) -> None:
    obj = applied(applied(None, **first), **second)

    found = {k: v for k, v in obj.items() if k in first.keys() | second.keys() and v}
    assert found == {k: v for k, v in second.items() if v} or _only_order_differs(found, second)


def _only_order_differs(found: Object, wanted: Object) -> bool:
    def plain(tree: Object) -> Object:
        return {k: sorted(v, key=str) if k == "items" else v for k, v in tree.items() if v}

    return plain(found) == plain(wanted)


@given(configs, configs)
def test_forcing_never_conflicts_and_owns_all_it_says(first: Object, second: Object) -> None:
    obj = applied(applied(None, "one", **first), "two", force=True, **second)

    for key, value in second.items():
        if key in ("size", "args") and value:
            assert obj[key] == value
            assert f"f:{key}" not in owned(obj).get("one", {}) or first.get(key) == value

"""Who owns what of a custom resource follows from the list and map types of its schema."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.apply import schemas
from timonel.machinery.apply.fields import ApplyConflict, Fields
from timonel.machinery.apply.typed import Scalar, Struct
from timonel.machinery.errors import StatusError

ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "proto": {"type": "string", "default": "tcp"},
        "n": {"type": "integer"},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "keyed": {
                    "type": "array", "items": ITEM, "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name", "proto"],
                },
                "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "plain": {"type": "array", "items": {"type": "string"}},
                "whole": {
                    "type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic",
                },
                "loose": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "port": {"x-kubernetes-int-or-string": True},
                "pod": {
                    "type": "object", "x-kubernetes-embedded-resource": True, "properties": {"a": {"type": "string"}},
                },
            },
        }
    },
}  # fmt: skip


def metadata() -> Struct:
    found = Struct()
    found.children |= {"name": Scalar("string"), "managedFields": Scalar("")}
    return found


def fields(schema: dict[str, Any] | None = SCHEMA) -> Fields:
    return Fields(schemas.root(schema, metadata()), group="example.com", version="v1", kind="Thing", new={})


def thing(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}


def applied(live: Any, config: Any, manager: str, *, force: bool = False) -> dict[str, Any]:
    return fields().apply(live, config, manager=manager, force=force, now=0.0)


@pytest.mark.parametrize(
    ("one", "two", "merged"),
    [
        ({"keyed": [{"name": "x", "n": 1}]}, {"keyed": [{"name": "y", "n": 2}]}, 2),
        ({"set": ["a"]}, {"set": ["b"]}, 2),
        ({"loose": {"a": "1"}}, {"loose": {"b": "2"}}, 2),
        ({"free": {"a": {"x": 1}}}, {"free": {"a": {"y": 2}}}, 1),
    ],
)
def test_what_is_granular_is_shared(one: dict[str, Any], two: dict[str, Any], merged: int) -> None:
    first = applied(None, thing(**one), "one")
    both = applied(first, thing(**two), "two")

    (name,) = one
    assert len(both["spec"][name]) == merged


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"plain": ["a"]}, {"plain": ["b"]}),
        ({"whole": {"a": "1"}}, {"whole": {"b": "2"}}),
        ({"port": 80}, {"port": "http"}),
        ({"keyed": [{"name": "x", "n": 1}]}, {"keyed": [{"name": "x", "proto": "tcp", "n": 2}]}),
        ({"pod": {"a": "x"}}, {"pod": {"a": "y"}}),
    ],
)
def test_what_belongs_to_one_is_a_conflict(one: dict[str, Any], two: dict[str, Any]) -> None:
    first = applied(None, thing(**one), "one")
    with pytest.raises(ApplyConflict):
        applied(first, thing(**two), "two")
    forced = applied(first, thing(**two), "two", force=True)

    (name,) = two
    assert forced["spec"][name] == two[name]


@pytest.mark.parametrize(
    "spec", [{"odd": 1}, {"pod": {"metadata": {"odd": 1}}}, {"set": ["a", "a"]}, {"plain": {}}]
)
def test_what_the_schema_does_not_have_cannot_be_applied(spec: dict[str, Any]) -> None:
    with pytest.raises(StatusError):
        applied(None, thing(**spec), "one")


def test_a_version_without_a_schema_takes_everything() -> None:
    found = fields(None).apply(None, thing(any={"thing": [1]}), manager="one", force=False, now=0.0)

    assert found["spec"] == {"any": {"thing": [1]}}

"""What holds for every kind: its example is valid, hooks are repeatable and validation only looks."""

from __future__ import annotations

import copy

import pytest

from tests.apis.examples import BODIES, RESOURCES, served, stored
from timonel.apis.resource import ResourceType

KINDS = pytest.mark.parametrize(
    "rtype", [t for t in RESOURCES if t.retired is None], ids=lambda t: f"{t.api_version}/{t.kind}"
)


@KINDS
def test_the_example_is_valid(rtype: ResourceType) -> None:
    assert list(rtype.validate(stored(rtype))) == []


@KINDS
def test_defaulting_twice_changes_nothing(rtype: ResourceType) -> None:
    once = served(rtype, BODIES[f"{rtype.api_version}/{rtype.kind}"])
    rtype.default(once)
    twice = copy.deepcopy(once)
    rtype.default(twice)
    assert twice == once


@KINDS
def test_validation_and_columns_change_nothing(rtype: ResourceType) -> None:
    obj = stored(rtype)
    before = copy.deepcopy(obj)
    assert list(rtype.validate(obj)) == []
    assert [str(cause) for cause in rtype.validate_update(obj, copy.deepcopy(obj))] == []
    list(rtype.warnings(obj))
    for column in rtype.columns:
        column.value(obj, 0.0)
    for value in rtype.selectable.values():
        assert isinstance(value(obj), str)
    assert obj == before


@KINDS
def test_an_update_without_a_change_changes_nothing(rtype: ResourceType) -> None:
    old = stored(rtype)
    new = copy.deepcopy(old)
    rtype.prepare_update(new, old)
    assert new == old


@pytest.mark.parametrize("rtype", [t for t in RESOURCES if t.converted], ids=lambda t: t.api_version)
def test_a_converted_version_comes_back_as_it_was(rtype: ResourceType) -> None:
    assert rtype.converted is not None
    obj = served(rtype, BODIES[f"{rtype.api_version}/{rtype.kind}"])
    rtype.default(obj)
    before = copy.deepcopy(obj)
    rtype.converted.to_stored(obj)
    rtype.converted.from_stored(obj)
    assert {k: v for k, v in obj.items() if k != "status"} == {
        k: v for k, v in before.items() if k != "status"
    }


def test_every_kind_has_an_example() -> None:
    assert {f"{t.api_version}/{t.kind}" for t in RESOURCES if t.retired is None} == set(BODIES)

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.apply import sets
from timonel.machinery.apply.sets import SetError

elements = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
paths = st.lists(elements, min_size=1, max_size=3).map(tuple)
path_sets = st.sets(paths, max_size=6)


def of(found: set[sets.Path]) -> sets.Set:
    return sets.of_paths(*found)


def paths_of(one: sets.Set) -> set[sets.Path]:
    return set(sets.members(one))


@given(path_sets)
def test_a_set_has_the_paths_it_was_made_of(one: set[sets.Path]) -> None:
    assert paths_of(of(one)) == one


@given(path_sets, path_sets)
def test_sets_behave_like_sets_of_paths(one: set[sets.Path], two: set[sets.Path]) -> None:
    assert paths_of(sets.union(of(one), of(two))) == one | two
    assert paths_of(sets.intersection(of(one), of(two))) == one & two
    assert paths_of(sets.difference(of(one), of(two))) == one - two


@given(path_sets, path_sets)
def test_without_takes_what_is_below_too(one: set[sets.Path], two: set[sets.Path]) -> None:
    left = {p for p in one if not any(p[: i + 1] in two for i in range(len(p)))}

    assert paths_of(sets.without(of(one), of(two))) == left


@given(path_sets)
def test_the_wire_form_reads_back(one: set[sets.Path]) -> None:
    assert sets.from_wire(sets.to_wire(of(one))) == of(one)


@given(path_sets, path_sets)
def test_an_empty_result_is_empty(one: set[sets.Path], two: set[sets.Path]) -> None:
    found = sets.difference(of(one), of(two))

    assert bool(found) is bool(one - two)


def test_a_member_with_something_below_it_has_a_dot_on_the_wire() -> None:
    one = sets.of_paths(("f:data",), ("f:data", "f:k"))

    assert sets.to_wire(one) == {"f:data": {".": {}, "f:k": {}}}


@pytest.mark.parametrize("tree", [[], {"data": {}}, {"f:a": 1}, {"k:{": {}}, {"x:a": {}}])
def test_what_is_no_set_is_refused(tree: Any) -> None:
    with pytest.raises(SetError):
        sets.from_wire(tree)


def test_paths_are_shown_as_conflicts_name_them() -> None:
    path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:x", 'v:"y"', "i:3")

    assert sets.show(path) == '.spec.ports[containerPort=80,protocol="TCP"].x[="y"][3]'


def test_members_come_before_what_is_below_them() -> None:
    one = sets.of_paths(("f:b",), ("f:a", "f:z"), ("f:a",))

    assert list(sets.members(one)) == [("f:a",), ("f:b",), ("f:a", "f:z")]

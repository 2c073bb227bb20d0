"""What holds for every schema and every value."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.machinery.structural.schemas import OBJECT_SCHEMAS, OBJECTS, SCHEMAS, VALUES
from timonel.machinery.structural import Structural
from timonel.machinery.structural.checks import compile_check
from timonel.machinery.structural.correlation import Old
from timonel.machinery.structural.findings import explain
from timonel.machinery.structural.schema import Schema


@given(OBJECT_SCHEMAS, OBJECTS)
def test_what_is_pruned_once_has_nothing_left_to_prune(schema: Any, obj: Any) -> None:
    structural = Structural(schema)
    structural.prune(obj)
    once = copy.deepcopy(obj)

    assert structural.prune(obj) == []
    assert obj == once


@given(OBJECT_SCHEMAS, OBJECTS)
def test_defaulting_twice_changes_nothing(schema: Any, obj: Any) -> None:
    structural = Structural(schema)
    structural.default(obj)
    once = copy.deepcopy(obj)
    structural.default(obj)

    assert obj == once


@given(OBJECT_SCHEMAS, OBJECTS, OBJECTS)
def test_validation_looks_and_never_raises(schema: Any, obj: Any, old: Any) -> None:
    structural = Structural(schema)
    before = copy.deepcopy((obj, old))

    assert all(cause.type.startswith("FieldValue") for cause in structural.validate(obj))
    list(structural.validate(obj, old))
    assert (obj, old) == before


@given(SCHEMAS, VALUES)
def test_the_fast_check_and_the_words_agree(schema: Any, value: Any) -> None:
    read = Schema.of(schema)
    check = compile_check(read)

    assert (check is None or check(value)) == (not explain(read, value).errors)


@given(SCHEMAS, VALUES)
def test_what_has_not_changed_is_not_refused_again(schema: Any, value: Any) -> None:
    read = Schema.of(schema)

    assert explain(read, value, "", Old(copy.deepcopy(value), read)).errors == []


@given(st.lists(st.sampled_from(["a", "b", 1, True, 1.0, None]), max_size=5))
def test_a_set_has_repeated_items_exactly_where_something_appears_again(items: list[Any]) -> None:
    schema = {"properties": {"l": {"type": "array", "x-kubernetes-list-type": "set", "items": {}}}}
    kinds = [(type(item), item) for item in items]

    found = [cause for cause in Structural(schema).validate({"l": items}) if "Duplicate" in cause.message]
    assert bool(found) == (len(set(kinds)) < len(kinds))

"""Rules on values: causes, transitions, ratcheting, budget."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.structural import Structural, structural
from timonel.machinery.structural.rules import NO_MORE, OUT_OF_BUDGET

TEXT, COUNT = {"type": "string"}, {"type": "integer"}


def ruled(schema: Any, *rules: Any) -> Any:
    return {**schema, "x-kubernetes-validations": [{"rule": r} if isinstance(r, str) else r for r in rules]}


def told(field: Any, value: Any, old: Any = None) -> list[str]:
    root = {"type": "object", "properties": {"f": field}}
    before = None if old is None else {"f": old}
    return [str(cause) for cause in Structural(root).validate({"f": value}, before)]


PAIR = {"type": "object", "properties": {"low": COUNT, "high": COUNT}}


@pytest.mark.parametrize(
    ("rule", "causes"),
    [
        ("self.low <= self.high", ["f: Invalid value: failed rule: self.low <= self.high"]),
        ({"rule": "self.low <= self.high", "message": " too low "}, ["f: Invalid value: too low"]),
        (
            {
                "rule": "self.low <= self.high",
                "messageExpression": "string(self.low) + ' over ' + string(self.high)",
            },
            ["f: Invalid value: 3 over 2"],
        ),
        (
            {"rule": "self.low <= self.high", "message": "static", "messageExpression": "''"},
            ["f: Invalid value: static"],
        ),
        (
            {"rule": "self.low <= self.high", "message": "static", "messageExpression": "string(1/0)"},
            ["f: Invalid value: static"],
        ),
        (
            {
                "rule": "self.low <= self.high",
                "message": "m",
                "fieldPath": ".low",
                "reason": "FieldValueForbidden",
            },
            ["f.low: Forbidden: m"],
        ),
        ({"rule": "false", "message": "m", "reason": "FieldValueRequired"}, ["f: Required value: m"]),
        ({"rule": "false", "message": "m", "reason": "FieldValueDuplicate"}, ["f: Duplicate value"]),
        ("self.low / 0 == 1", ["f: Invalid value: division by zero evaluating rule: self.low / 0 == 1"]),
        ("self.low >= self.high", []),
        ("", []),
    ],
)
def test_a_broken_rule_makes_one_cause(rule: Any, causes: list[str]) -> None:
    assert told(ruled(PAIR, rule), {"low": 3, "high": 2}) == causes


def test_single_values_are_shown_and_wholes_are_not() -> None:
    assert told(ruled(TEXT, {"rule": "self == 'a'", "message": "m"}), "b") == ['f: Invalid value: "b": m']
    assert told(ruled({"type": "array", "items": TEXT}, {"rule": "false", "message": "m"}), ["b"]) == [
        "f: Invalid value: m"
    ]


def test_the_cause_of_a_rule_at_the_root_has_no_path() -> None:
    root = ruled({"type": "object", "properties": {"a": COUNT}}, {"rule": "self.a > 1", "message": "m"})

    assert [str(c) for c in Structural(root).validate({"a": 1})] == ["<nil>: Invalid value: m"]


def test_rules_see_the_name_of_the_object() -> None:
    root = ruled({"type": "object"}, "self.metadata.name.startsWith('a') && self.kind == 'K'")

    assert (
        list(Structural(root).validate({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "ab"}})) == []
    )


def test_rules_on_null_and_absent_values_are_passed_over() -> None:
    assert told(ruled({**TEXT, "nullable": True}, "false"), None) == []
    assert list(Structural({"properties": {"f": ruled(TEXT, "false")}}).validate({})) == []


@pytest.mark.parametrize(
    ("rule", "new", "old", "holds"),
    [
        ("self >= oldSelf", 1, None, True),
        ("self >= oldSelf", 1, 2, False),
        ("self >= oldSelf", 2, 2, True),
        (
            {"rule": "oldSelf.hasValue() ? self >= oldSelf.value() : self > 5", "optionalOldSelf": True},
            1,
            None,
            False,
        ),
        (
            {"rule": "oldSelf.hasValue() ? self >= oldSelf.value() : self > 5", "optionalOldSelf": True},
            2,
            1,
            True,
        ),
        ({"rule": "oldSelf.orValue(0) < self", "optionalOldSelf": True}, 1, None, True),
    ],
)
def test_a_transition_rule_compares_with_the_value_before(rule: Any, new: Any, old: Any, holds: bool) -> None:
    assert (told(ruled(COUNT, rule), new, old) == []) is holds


ITEM = {"type": "object", "properties": {"k": TEXT, "v": ruled(COUNT, "self >= oldSelf")}}
KEYED = {"type": "array", "items": ITEM, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}


def test_items_of_a_list_of_type_map_belong_together_by_their_keys() -> None:
    old = [{"k": "a", "v": 5}, {"k": "b", "v": 1}]

    assert told(KEYED, [{"k": "b", "v": 2}, {"k": "a", "v": 4}, {"k": "c", "v": 0}], old) == [
        "f[1].v: Invalid value: 4: failed rule: self >= oldSelf"
    ]


def test_members_of_an_atomic_map_have_no_value_before() -> None:
    field = {"type": "object", "properties": {"v": ruled(COUNT, "self >= oldSelf")}}

    assert told(field, {"v": 1}, {"v": 2}) != []
    assert told({**field, "x-kubernetes-map-type": "atomic"}, {"v": 1}, {"v": 2}) == []


def test_values_of_a_map_are_named_by_their_keys() -> None:
    field = {"type": "object", "additionalProperties": ruled(COUNT, {"rule": "self > 0", "message": "m"})}

    assert told(field, {"a": 1, "b": 0}) == ["f[b]: Invalid value: 0: m"]


def test_what_was_broken_before_and_has_not_changed_is_a_warning() -> None:
    schema = {
        "type": "object",
        "properties": {"a": ruled(COUNT, {"rule": "self > 0", "message": "m"}), "b": TEXT},
    }
    found = Structural(schema)
    old, new = {"a": 0, "b": "x"}, {"a": 0, "b": "y"}

    assert list(found.validate(new, old)) == []
    assert found.warnings(new, old) == ["a: Invalid value: 0: m"]
    assert [str(c) for c in found.validate({"a": -1}, old)] == ["a: Invalid value: -1: m"]


def test_rules_are_not_evaluated_on_values_that_they_may_not_rely_on() -> None:
    field = ruled({"type": "object", "required": ["low"], "properties": {"low": COUNT}}, "self.low > 0")

    assert told(field, {}) == [
        "f.low: Required value",
        f"<nil>: Invalid value: null: {structural.UNCHECKED}",
    ]


def test_a_rule_is_evaluated_beside_causes_that_do_not_matter_to_it() -> None:
    field = {"type": "object", "properties": {"n": {**COUNT, "maximum": 1}, "t": ruled(TEXT, "self == 'a'")}}

    assert told(field, {"n": 2, "t": "b"}) == [
        "f.n: Invalid value: 2: f.n in body should be less than or equal to 1",
        "f.t: Invalid value: \"b\": failed rule: self == 'a'",
    ]


def test_one_rule_that_takes_too_long_ends_the_evaluation() -> None:
    lists = {"type": "array", "items": COUNT}
    field = {
        "type": "object",
        "properties": {
            "l": ruled(lists, "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"),
            "z": ruled(COUNT, "false"),
        },
    }

    causes = told(field, {"l": list(range(120)), "z": 1})
    assert len(causes) == 1
    assert NO_MORE in causes[0]


def test_all_rules_of_an_object_share_a_budget() -> None:
    lists = ruled({"type": "array", "items": COUNT}, "self.all(a, self.all(b, a + b >= 0))")
    field = {"type": "array", "items": lists}

    causes = told(field, [list(range(350))] * 40)
    assert [cause.partition(": ")[2] for cause in causes] == [f"Invalid value: {OUT_OF_BUDGET}"]


def test_rules_that_do_not_compile_any_more_refuse_what_they_guard() -> None:
    assert (
        "rule compile error: ERROR: <input>:1:1: undeclared reference to 'nope'"
        in told(ruled(COUNT, "nope"), 1)[0]
    )


def test_an_embedded_resource_is_the_root_of_its_rules() -> None:
    pod = ruled(
        {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}},
        "self.metadata.name != ''",
    )

    assert told(pod, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}) == []

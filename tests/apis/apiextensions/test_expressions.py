from __future__ import annotations

from typing import Any

import pytest

from tests.apis.apiextensions.definitions import AT, COUNT, TEXT, refused, with_fields
from timonel.apis.apiextensions.expressions import LIMIT, TOTAL_LIMIT, too_expensive

FIELD = f"{AT}.properties[f]"
RULE = f"{FIELD}.x-kubernetes-validations[0]"


def ruled(schema: Any, **rule: Any) -> Any:
    return {**schema, "x-kubernetes-validations": [rule]}


@pytest.mark.parametrize(
    ("field", "causes"),
    [
        (ruled(COUNT, rule="self > 0"), []),
        (ruled(COUNT, rule=" "), ["rule: Required value: rule is not specified"]),
        (ruled(COUNT, rule="self > 0", message=" "),
         ['message: Invalid value: " ": message must be non-empty if specified']),
        (ruled(COUNT, rule="self > 0", message="a\nb"),
         ['message: Invalid value: "a\\nb": message must not contain line breaks']),
        (ruled(COUNT, rule="self >\n0"),
         ["message: Required value: message must be specified if rule contains line breaks"]),
        (ruled(COUNT, rule="self > 0", messageExpression=" "),
         ["messageExpression: Required value: messageExpression must be non-empty if specified"]),
        (ruled(COUNT, rule="self > 0", reason="Odd"),
         ['reason: Unsupported value: "Odd": supported values: "FieldValueDuplicate", "FieldValueForbidden", '
          '"FieldValueInvalid", "FieldValueRequired"']),
        (ruled(COUNT, rule="self > 0", optionalOldSelf=True),
         ["optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"]),
    ],
)  # fmt: skip
def test_what_surrounds_a_rule_has_rules(field: Any, causes: list[str]) -> None:
    assert refused(with_fields(f=field)) == [f"{RULE}.{cause}" for cause in causes]


def test_a_rule_must_compile_and_yield_a_bool() -> None:
    (cause,) = refused(with_fields(f=ruled(COUNT, rule="self")))
    assert cause.endswith(": cel expression must evaluate to a bool")

    (cause,) = refused(with_fields(f=ruled(COUNT, rule="self > 'a'")))
    assert ": compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_'" in cause


@pytest.mark.parametrize(
    ("container", "where"),
    [
        ({"type": "array", "items": ruled(COUNT, rule="self >= oldSelf")}, "items"),
        (
            {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "properties": {"a": ruled(COUNT, rule="self >= oldSelf")},
            },
            "properties[a]",
        ),
    ],
)
def test_a_transition_rule_needs_values_that_belong_together(container: Any, where: str) -> None:
    if "items" in container:
        container = {**container, "maxItems": 5}

    assert refused(with_fields(f=container)) == [
        f'{FIELD}.{where}.x-kubernetes-validations[0].rule: Invalid value: "self >= oldSelf": '
        f"oldSelf cannot be used on the uncorrelatable portion of the schema within {FIELD}"
    ]


def test_a_transition_rule_may_stand_in_a_list_of_type_map() -> None:
    item = {"type": "object", "properties": {"k": {**TEXT, "maxLength": 5}, "v": ruled(COUNT, rule="self >= oldSelf")},
            "required": ["k"]}  # fmt: skip
    keyed = {
        "type": "array",
        "maxItems": 5,
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    }

    assert refused(with_fields(f=keyed)) == []


def test_a_rule_that_may_take_forever_is_refused_with_advice() -> None:
    lists = {"type": "array", "items": TEXT}
    causes = refused(with_fields(f=ruled(lists, rule="self.all(a, self.all(b, a != b))")))

    assert [cause.partition(": ")[0] for cause in causes] == [f"{RULE}.rule", f"{RULE}.rule", AT]
    assert (
        "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule"
        in causes[0]
    )
    assert causes[1].endswith(
        "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    )
    assert "estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in causes[2]


def test_limits_on_sizes_make_a_rule_affordable() -> None:
    lists = {"type": "array", "maxItems": 10, "items": {**TEXT, "maxLength": 10}}

    assert refused(with_fields(f=ruled(lists, rule="self.all(a, self.all(b, a != b || a == b))"))) == []


@pytest.mark.parametrize(
    ("cost", "limit", "factor"),
    [
        (LIMIT + 1, LIMIT, "1.000000x"),
        (2 * LIMIT, LIMIT, "2.0x"),
        (101 * TOTAL_LIMIT, TOTAL_LIMIT, "more than 100x"),
    ],
)
def test_how_far_a_rule_is_over_its_limit(cost: int, limit: int, factor: str) -> None:
    assert too_expensive("cost", cost, limit).startswith(f"cost exceeds budget by factor of {factor} (")

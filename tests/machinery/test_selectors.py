from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery import selectors
from timonel.machinery.selectors import SelectorError


@pytest.mark.parametrize(
    ("text", "printed", "matching", "other"),
    [
        ("a=b", "a=b", {"a": "b"}, {"a": "c"}),
        ("a==b", "a==b", {"a": "b"}, {}),
        ("a!=b", "a!=b", {}, {"a": "b"}),
        ("a", "a", {"a": ""}, {}),
        ("!a", "!a", {}, {"a": "x"}),
        ("a in (c, b)", "a in (b,c)", {"a": "c"}, {"a": "d"}),
        ("a notin (b)", "a notin (b)", {}, {"a": "b"}),
        ("a in ()", "a in ()", {"a": ""}, {"a": "b"}),
        ("a in (,b)", "a in (,b)", {"a": ""}, {"a": "c"}),
        ("a>1", "a>1", {"a": "2"}, {"a": "x"}),
        ("a<1", "a<1", {"a": "0"}, {"a": "1"}),
        ("b=1, a=2", "a=2,b=1", {"a": "2", "b": "1"}, {"a": "2"}),
        ("a=", "a=", {"a": ""}, {"a": "b"}),
        ("in in (in)", "in in (in)", {"in": "in"}, {}),
    ],
)
def test_a_label_selector_is_read_printed_and_matched(
    text: str, printed: str, matching: dict[str, str], other: dict[str, str]
) -> None:
    found = selectors.parse_label_selector(text)

    assert str(found) == printed
    assert found.matches(matching)
    assert not found.matches(other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!", "unable to parse requirement: found '!', expected: identifier"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ],
)
def test_a_label_selector_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        selectors.parse_label_selector(text)

    assert str(caught.value) == message


def test_a_missing_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not selectors.from_label_selector(None).matches({})
    assert selectors.from_label_selector({}).matches({"a": "b"})
    assert selectors.from_map({}).is_everything


def test_an_api_selector_becomes_its_text() -> None:
    selector = {
        "matchLabels": {"x": "y"},
        "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["2", "1"]},
            {"key": "b", "operator": "Exists"},
        ],
    }

    assert str(selectors.from_label_selector(selector)) == "a in (1,2),b,x=y"


def test_causes_of_a_bad_selector_name_their_field() -> None:
    selector = {
        "matchLabels": {"-": "ok"},
        "matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Near", "values": ["x y"]},
        ],
    }

    found = [
        (cause.field, cause.type) for cause in selectors.validate_label_selector(selector, "spec.selector")
    ]

    assert found == [
        ("spec.selector.matchLabels", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[0].values", "FieldValueRequired"),
        ("spec.selector.matchExpressions[1].values", "FieldValueForbidden"),
        ("spec.selector.matchExpressions[2].operator", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[2].values[0]", "FieldValueInvalid"),
    ]


@pytest.mark.parametrize(
    ("text", "fields", "matches"),
    [
        ("metadata.name=a", {"metadata.name": "a"}, True),
        ("metadata.name==a", {"metadata.name": "b"}, False),
        ("status.phase!=Running", {"status.phase": "Pending"}, True),
        ("a=1,b!=2", {"a": "1", "b": "2"}, False),
        (r"a=x\,y\=z", {"a": "x,y=z"}, True),
        ("", {}, True),
    ],
)
def test_a_field_selector_is_read_and_matched(text: str, fields: dict[str, str], matches: bool) -> None:
    assert selectors.parse_field_selector(text).matches(fields) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
    ],
)
def test_a_field_selector_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(SelectorError) as caught:
        selectors.parse_field_selector(text)

    assert str(caught.value) == message


words = st.text("abcXYZ019", min_size=1, max_size=5)


@given(st.dictionaries(words, words, max_size=4), st.dictionaries(words, words, max_size=4))
def test_a_map_selects_what_contains_it(wanted: dict[str, str], labels: dict[str, str]) -> None:
    found = selectors.from_map(wanted)

    assert found.matches(labels) is (wanted.items() <= labels.items())
    assert selectors.parse_label_selector(str(found)).matches(labels) is found.matches(labels)

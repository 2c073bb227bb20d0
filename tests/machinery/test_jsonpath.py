"""JSONPath as printer columns and kubectl write it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.jsonpath import JsonPathError, parse, show, simple

TREE: dict[str, Any] = {
    "spec": {
        "names": [{"kind": "A", "size": 1}, {"kind": "B", "size": 2}, {"size": 3}],
        "x.y": {"a b": 4},
        "flag": True,
        "none": None,
    }
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.names[0].kind", ["A"]),
        ("{.spec.names[-1].size}", [3]),
        (".spec.names[*].kind", ["A", "B"]),
        (".spec.names[1:].size", [2, 3]),
        (".spec.names[0:3:2].size", [1, 3]),
        (".spec.names[0,2].size", [1, 3]),
        ('.spec.names[?(@.kind=="B")].size', [2]),
        (".spec.names[?(@.size>=2)].size", [2, 3]),
        (".spec.names[?(@.kind)].size", [1, 2]),
        (".spec.names[?(@.kind!='B')].size", [1]),
        ("..kind", ["A", "B"]),
        (".spec['x.y']['a b']", [4]),
        (".spec.x\\.y.*", [4]),
        (".spec.missing.deeper", []),
        (".spec.none", [None]),
        (".spec.none.deeper", []),
        (".", [TREE]),
        ("$.spec.flag", [True]),
    ],
)
def test_paths_find_what_they_name(path: str, found: list[Any]) -> None:
    assert parse(path).find(TREE) == found


@pytest.mark.parametrize(
    "path", [".spec[", ".spec[x]", ".spec['a]", ".spec.names[::0]", ".a.b}c", ".a[]", ".a[-]", ".a[-:]"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(JsonPathError):
        parse(path)


@pytest.mark.parametrize(
    "path", [".spec.names[7]", ".spec.flag[0]", '.spec[?(@.a=="b")]', ".spec.names[?(@.size=='x')]"]
)
def test_steps_that_do_not_fit_the_value_are_errors(path: str) -> None:
    with pytest.raises(JsonPathError):
        parse(path).find(TREE)


@given(st.text(alphabet=".[]'\"{}@$?()*:,-=<>! ab1\\", max_size=20))
def test_no_text_is_anything_but_a_path_or_an_error(text: str) -> None:
    with contextlib.suppress(JsonPathError):
        parse(text).find(TREE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (True, "true"),
        (None, "<nil>"),
        (3, "3"),
        (1.0, "1"),
        (0.5, "0.5"),
        (1e21, "1e+21"),
        (1e-7, "1e-07"),
        ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
    ],
)
def test_values_are_shown_as_go_shows_them(value: object, text: str) -> None:
    assert show(value) == text


def test_a_simple_path_is_its_names() -> None:
    assert simple(".spec.replicas") == ("spec", "replicas")

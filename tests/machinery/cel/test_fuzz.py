"""Whatever the text and the values: a CompileError or an EvaluationError, and never anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timonel.machinery.cel import DEVICES, MUTATION, CompileError, Environment, EvaluationError, types

ENVIRONMENT = Environment(
    {
        "d": types.DYN,
        "i": types.INT,
        "s": types.STRING,
        "l": types.list_of(types.INT),
        "m": types.map_of(types.STRING, types.DOUBLE),
        "t": types.TIMESTAMP,
        "o": types.object("thing", {"a": types.INT, "b": types.list_of(types.DOUBLE), "c": types.BYTES}),
    },
    libraries=DEVICES | MUTATION,
)
WORDS = r"""
d i s l m t o a b x . .? [ [? ] { {? } ( ) , : ? && || ! - + * / % < <= > >= == != in true false null 0 1 -1
2u 1.5 1e400 9223372036854775808 'a' "b" b'c' r'\d' '''z''' // has all exists exists_one map filter
transformList transformMap transformMapEntry sortBy cel.bind optMap optFlatMap orValue optional.of
optional.none value size type dyn int uint double string bytes bool duration timestamp matches find findAll
split join replace substring format indexOf charAt min max sum isSorted quantity ip cidr url semver
format.named validate sets.contains lists.range flatten distinct slice reverse sort JSONPatch Object
getHours @ $ ' " é
"""
PIECES = (*WORDS.split(), "\\")
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
ATOMS = st.sampled_from(
    (
        "d",
        "i",
        "s",
        "l",
        "m",
        "o",
        "x",
        "1",
        "0",
        "-1",
        "2u",
        "1.5",
        "'a'",
        "''",
        "b'q'",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "t",
        "d.a",
        "o.a",
        "o.b",
        "o.c",
        "m.k",
        "duration('1s')",
        "optional.none()",
        "'(a+)+$'",
    )
)
BINARY = st.sampled_from(("+", "-", "*", "/", "%", "<", "<=", "==", "!=", "in", "&&", "||"))
CALLS = st.sampled_from(
    (
        "size({0})",
        "type({0})",
        "dyn({0})",
        "int({0})",
        "double({0})",
        "string({0})",
        "uint({0})",
        "!{0}",
        "-({0})",
        "has(d.{2})",
        "({0})[{1}]",
        "({0}).?{2}",
        "({0})[?{1}]",
        "[{0}, {1}]",
        "{{{0}: {1}}}",
        "[?optional.of({0})]",
        "({0}).all(x, {1})",
        "({0}).exists(x, {1})",
        "({0}).map(x, {1})",
        "({0}).filter(x, {1})",
        "({0}).exists_one(x, {1})",
        "({0}).all(x, y, {1})",
        "({0}).transformList(x, y, {1})",
        "({0}).sortBy(x, {1})",
        "({0}).transformMap(x, y, {1})",
        "({0}).transformMapEntry(x, y, {{{1}: {0}}})",
        "cel.bind(x, {0}, {1})",
        "optional.of({0}).optMap(x, {1}).orValue({0})",
        "({0}) ? ({1}) : ({0})",
        "({0}).contains({1})",
        "({0}).matches({1})",
        "({0}).split({1})",
        "({0}).join({1})",
        "({0}).format([dyn({1})])",
        "({0}).sum()",
        "({0}).min()",
        "({0}).indexOf({1})",
        "quantity({0}).add(quantity({1}))",
        "ip({0})",
        "cidr({0}).ip()",
        "url({0}).getQuery()",
        "semver({0}).major()",
        "({0}).getHours({1})",
        "timestamp({0})",
        "duration({0})",
        "sets.contains({0}, {1})",
        "({0}).flatten()",
        "({0}).distinct()",
        "({0}).sort()",
        "({0}).slice(0, {1})",
        "({0}).findAll({1})",
        "({0}).replace({1}, 'z')",
        "({0}).substring({1})",
        "JSONPatch{{value: {0}}}",
    )
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: (
        st.builds(lambda left, op, right: f"({left} {op} {right})", inner, BINARY, inner)
        | st.builds(lambda call, one, other: call.format(one, other, "a"), CALLS, inner, inner)
    ),
    max_leaves=8,
)


def run(text: str, trees: dict[str, Any]) -> None:
    try:
        program = ENVIRONMENT.compile(text)
        program.estimate()
        program.evaluate(trees, limit=20_000)
    except (CompileError, EvaluationError) as refused:
        said = str(refused)
    else:
        said = "a value"
    assert said


def values(tree: Any) -> dict[str, Any]:
    return {"d": tree, "i": tree, "s": tree, "l": tree, "m": tree, "t": tree, "o": tree}


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join), tree=TREES)
def test_any_text_compiles_or_says_why_not(text: str, tree: Any) -> None:
    run(text, values(tree))


@settings(max_examples=500, deadline=None)
@given(text=EXPRESSIONS, tree=TREES)
def test_any_expression_over_any_tree_yields_a_value_or_says_why_not(text: str, tree: Any) -> None:
    run(text, values(tree))


@settings(max_examples=200, deadline=None)
@given(
    text=EXPRESSIONS,
    tree=st.fixed_dictionaries(
        {
            "d": TREES,
            "i": st.integers(-5, 5),
            "s": st.text(max_size=5),
            "l": st.lists(st.integers(-3, 3), max_size=4),
            "m": st.dictionaries(st.text(max_size=2), st.floats(allow_nan=False), max_size=3),
            "t": st.just("2026-01-02T03:04:05Z"),
            "o": st.just({"a": 1, "b": [1, 2.5], "c": "QUI="}),
        }
    ),
)
def test_evaluation_changes_nothing_and_repeats(text: str, tree: dict[str, Any]) -> None:
    before = repr(tree)
    try:
        program = ENVIRONMENT.compile(text)
        first = repr(program.evaluate(tree, limit=20_000))
        assert repr(program.evaluate(tree, limit=20_000)) == first
    except (CompileError, EvaluationError):
        pass
    assert repr(tree) == before


@pytest.mark.parametrize(
    "text",
    [
        "(" * 300 + "1" + ")" * 300,
        "[" * 300 + "]" * 300,
        "!" * 100_001,
        "-(" * 260 + "1" + ")" * 260,
        "d" + ".a" * 400,
        "d" + "[0]" * 400,
        "1" + " + 1" * 400,
        "true ? " * 260 + "1" + " : 1" * 260,
        "l.all(x, " * 260 + "true" + ")" * 260,
        "9" * 50_000,
        "'" + "a" * 120_000 + "'",
    ],
)
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(CompileError):
        ENVIRONMENT.compile(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(" * 200 + "1" + ")" * 200, 1),
        (" && ".join(["true"] * 3000), True),
        (" || ".join(["i == 1"] * 2000), False),
        ("1" + " + 1" * 240, 241),
        ("true ? 1 : " * 100 + "2", 1),
        ("[" * 100 + "1" + "]" * 100 + "[0]" * 100, 1),
        ("l.map(x, " * 30 + "1" + ")" * 30 + ".size() == 1", True),
        ("(i > 5 || " * 100 + "true" + ")" * 100, True),
        ("(i / 0 > 5 || " * 60 + "true" + ")" * 60, True),
        ("l.exists(x, " * 40 + "x == 7" + ")" * 40, True),
        ("cel.bind(y, i + 1, " * 60 + "y" + ")" * 60, 6),
    ],
)
def test_what_is_deep_or_long_within_bounds_works(text: str, value: Any) -> None:
    assert ENVIRONMENT.compile(text).evaluate({"i": 5, "l": [7]}, limit=10**9) == value

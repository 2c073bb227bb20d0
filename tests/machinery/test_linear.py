"""Regular expressions in linear time find what backtracking finds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timonel.machinery.linear import Guarded, Machine, guarded
from timonel.machinery.patterns import PatternError, compile_pattern

ATOMS = (
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    "(a|b)",
    "(?:ab|a)",
    "(a*)",
    "(a+b?)",
    r"\b",
    "^",
    "$",
    "(?i:A)",
    "(?m:^b)",
)
MORE = ("(?m:a$)", "(?s:.)", r"\n", "(?i)B", r"\B", r"\w", "é", "[[:upper:]]")
REPEATS = ("", "", "*", "+", "?", "*?", "+?", "{1,2}", "{2}", "{0,3}?")
PATTERNS = st.lists(
    st.tuples(st.sampled_from(ATOMS + MORE), st.sampled_from(REPEATS)).map("".join), min_size=1, max_size=4
).map("".join)


@settings(max_examples=400, deadline=None)
@given(pattern=PATTERNS, text=st.text(alphabet="ab\nBé ", max_size=8))
def test_the_first_match_is_the_one_that_backtracking_finds(pattern: str, text: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        return
    if not isinstance(compiled, Guarded):
        return
    machine = Machine(compiled.tree)
    found = compiled.backtracking.search(text)

    assert machine.matches(text) is (found is not None)
    assert next(((one.start, one.stop) for one in machine.spans(text)), None) == (found and found.span())


@pytest.mark.parametrize(
    ("pattern", "text", "is_there"),
    [
        ("(a+)+$", "a" * 50_000 + "b", False),
        ("(a|a)*c", "a" * 50_000, False),
        (".*a.*b", "a" * 50_000, False),
        ("x*y", "x" * 200_000, False),
        ("(x*y|z)+$", "x" * 50_000 + "y", True),
        ("^(.+.+)+$", "q" * 20_000, True),
    ],
)
def test_what_would_take_backtracking_forever_is_answered_at_once(
    pattern: str, text: str, is_there: bool
) -> None:
    compiled = compile_pattern(pattern)
    start = time.process_time()

    found = compiled.search(text)
    assert (found is not None) is is_there
    assert time.process_time() - start < 2.0


def test_what_was_found_far_out_is_known_with_its_text() -> None:
    text = "-" * 2_000 + "ab12" + "-" * 2_000 + "7"

    found = compile_pattern("[0-9]+").search(text)
    assert found is not None
    assert found[0] == "12"
    assert [one[0] for one in compile_pattern("[0-9]+").finditer(text)] == ["12", "7"]


def test_a_pattern_without_open_repetitions_is_left_to_python() -> None:
    compiled = compile_pattern("^a{1,3}b?$")

    assert guarded(compiled) is compiled  # type: ignore[arg-type]


def test_a_pattern_that_repeats_too_much_is_refused() -> None:
    with pytest.raises(PatternError, match="expression too large"):
        compile_pattern("((a{1000}){1000})*")

"""Durations in Go's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("1.5m", 90),
        ("2h45m", 9900),
        ("300ms", 0.3),
        ("-1s", -1),
        ("0", 0),
        (".5s", 0.5),
        ("1us", 1e-6),
    ],
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert durations.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("3", 'time: missing unit in duration "3"'),
        ("3d", 'time: unknown unit "d" in duration "3d"'),
        ("s", 'time: invalid duration "s"'),
        ("1s x", 'time: unknown unit "s x" in duration "1s x"'),
        ("-", 'time: invalid duration "-"'),
    ],
)
def test_what_is_no_duration_is_told_in_gos_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="time: ") as refused:
        durations.parse(text)
    assert str(refused.value) == message


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        found, problem = durations.parse(text), ""
    except ValueError as error:
        found, problem = 0.0, str(error)

    assert isinstance(found, float)
    assert not problem or problem.startswith("time: ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (10, "10s"),
        (1.5, "1.5s"),
        (60, "1m0s"),
        (90, "1m30s"),
        (0.5, "500ms"),
        (0, "0s"),
        (1.0021, "1.002s"),
        (59.9999, "1m0s"),
        (61.5, "1m1.5s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_are_printed_as_go_prints_them(seconds: float, text: str) -> None:
    assert durations.shown(seconds) == text


@given(st.integers(0, 10**9))
def test_what_is_printed_is_parsed_again(milliseconds: int) -> None:
    assert durations.parse(durations.shown(milliseconds / 1000)) == pytest.approx(
        milliseconds / 1000, abs=1e-6
    )

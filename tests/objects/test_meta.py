"""Times as the API writes them."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.objects.meta import format_micro_time, format_time, parse_time

moments = st.integers(0, 4_000_000_000)


@given(moments)
def test_a_time_that_was_written_is_read_again(seconds: int) -> None:
    text = format_time(seconds)

    assert parse_time(text) == seconds
    assert parse_time(text) == calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


@given(moments, st.integers(0, 999_999))
def test_a_time_with_fractions_is_read_again(seconds: int, micros: int) -> None:
    parsed = parse_time(format_micro_time(seconds + micros / 1_000_000))

    assert parsed == pytest.approx(seconds + micros / 1_000_000, abs=2e-6)


def test_times_before_the_epoch_are_negative() -> None:
    assert parse_time("0001-01-01T00:00:00Z") == -62_135_596_800


@pytest.mark.parametrize("absent", [None, ""])
def test_no_time_is_none(absent: str | None) -> None:
    assert parse_time(absent) is None


@pytest.mark.parametrize(
    "text", ["yesterday", "2024-01-01", "2024-W01-1T00:00:00", "2024-13-01T00:00:00Z", "2024-01-01 00:00:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)

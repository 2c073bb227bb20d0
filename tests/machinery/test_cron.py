from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.cron import CronError, parse

MADRID = ZoneInfo("Europe/Madrid")


def at(text: str, tz: datetime.tzinfo = datetime.UTC) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=tz).timestamp()


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:14:59", "2026-01-01T00:15:00"),
        ("0 0 1 1 *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 12 29 2 *", "2026-01-01T00:00:00", "2028-02-29T12:00:00"),
        ("0 0 13 * fri", "2026-03-01T00:00:00", "2026-03-06T00:00:00"),
        ("0 0 * * 1-5", "2026-11-27T00:00:00", "2026-11-30T00:00:00"),
        ("5/20 3 * * *", "2026-01-01T03:05:00", "2026-01-01T03:25:00"),
        ("@hourly", "2026-01-01T03:05:00", "2026-01-01T04:00:00"),
        ("@every 90s", "2026-01-01T00:00:00", "2026-01-01T00:01:30"),
    ],
)
def test_next(expression: str, after: str, expected: str) -> None:
    assert parse(expression).next(at(after)) == at(expected)


def test_a_day_that_never_comes_has_no_time() -> None:
    assert parse("0 0 31 2 *").next(at("2026-01-01T00:00:00")) is None


def test_a_skipped_hour_does_not_happen_that_day() -> None:
    found = parse("30 2 * * *").next(at("2026-03-28T12:00:00", MADRID), MADRID)

    assert found == at("2026-03-30T02:30:00", MADRID)


def test_a_repeated_hour_happens_twice() -> None:
    schedule = parse("30 2 * * *")
    first = schedule.next(at("2026-10-25T00:00:00", MADRID), MADRID)
    assert first is not None

    assert schedule.next(first, MADRID) == first + 3600


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "empty spec string"),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_errors(expression: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        parse(expression)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "expression",
    ["0 3 * * *", "*/7 * * * *", "5,50 2,23 * * 1", "59 23 31 12 *", "0 0 29 2 *", "30 */5 1-7 * 0"],
)
@given(after=st.floats(1_600_000_000, 1_900_000_000))
def test_where_no_hour_is_skipped_the_way_there_is_shorter_and_leads_to_the_same(
    expression: str, after: float
) -> None:
    schedule = parse(expression)

    assert schedule.next(after) == schedule.next(after, ZoneInfo("Etc/UTC"))

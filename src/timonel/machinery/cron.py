"""Cron schedules: five fields or a descriptor, with the errors and the arithmetic that CronJobs have upstream.

When both day of month and day of week are restricted, a day that matches either counts. Around a change to summer
time, times that the clock skips do not happen, and times that it shows twice happen twice.

Upstream: github.com/robfig/cron v3 parser.go, spec.go (ParseStandard).
"""

from __future__ import annotations

import datetime
import re

from timonel.machinery import durations
from timonel.machinery.field import quote
from timonel.records import dataclass

YEARS_AHEAD = 5  # a schedule without a time within these has none


class CronError(ValueError):
    """Not a schedule; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class _Field:
    values: frozenset[int]
    star: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """Either an interval in whole seconds (`@every`), or fields."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = False
    any_weekday: bool = False
    every: int = 0

    def next(self, after: float, tz: datetime.tzinfo = datetime.UTC) -> float | None:
        """The first time after `after` (seconds since the epoch); None when there is none within five years."""
        if self.every:
            return int(after) + self.every
        moment = datetime.datetime.fromtimestamp(int(after // 60) * 60 + 60, tz)
        limit = moment.year + YEARS_AHEAD
        is_even = tz is datetime.UTC  # no hour is skipped or comes twice
        while moment.year <= limit:
            if moment.month not in self.months:
                moment = _start_of_month_after(moment)
            elif not self._day_matches(moment):
                moment = _start_of_day_after(moment)
            elif moment.hour not in self.hours:
                hours = _until_one_of(self.hours, moment.hour, 24) if is_even else 1
                moment = _shift(moment, hours * 3600 - moment.minute * 60)
            elif moment.minute not in self.minutes:
                minutes = _until_one_of(self.minutes, moment.minute, 60) if is_even else 1
                moment = _shift(moment, minutes * 60)
            else:
                return moment.timestamp()
        return None

    def _day_matches(self, moment: datetime.datetime) -> bool:
        day, weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return day and weekday
        return day or weekday


def _until_one_of(values: frozenset[int], now: int, end: int) -> int:
    return next((value for value in range(now + 1, end) if value in values), end) - now


def _shift(moment: datetime.datetime, seconds: int) -> datetime.datetime:
    """Later in real time, whatever the clock on the wall does."""
    return datetime.datetime.fromtimestamp(moment.timestamp() + seconds, moment.tzinfo)


def _start_of_day_after(moment: datetime.datetime) -> datetime.datetime:
    following = moment.date() + datetime.timedelta(days=1)
    return _normal(datetime.datetime.combine(following, datetime.time(), moment.tzinfo))


def _start_of_month_after(moment: datetime.datetime) -> datetime.datetime:
    year, month = (moment.year, moment.month + 1) if moment.month < 12 else (moment.year + 1, 1)
    return _normal(datetime.datetime(year, month, 1, tzinfo=moment.tzinfo))


def _normal(moment: datetime.datetime) -> datetime.datetime:
    """The same instant as the clock shows it: a midnight that is skipped becomes the hour after it."""
    return datetime.datetime.fromtimestamp(moment.timestamp(), moment.tzinfo)


_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_WEEKDAYS)}),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def parse(expression: str) -> Schedule:
    """Raises CronError. A time zone in front (`TZ=…`) is not taken here: CronJobs have a field for it."""
    if not expression:
        raise CronError("empty spec string")
    if expression.startswith("@"):
        return _parse_descriptor(expression)
    words = expression.split()
    if len(words) != 5:
        raise CronError(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
    minute, hour, day, month, weekday = (_parse_field(w, *b) for w, b in zip(words, _BOUNDS, strict=True))
    return Schedule(
        minutes=minute.values,
        hours=hour.values,
        days=day.values,
        months=month.values,
        weekdays=weekday.values,
        any_day=day.star,
        any_weekday=weekday.star,
    )


def _parse_descriptor(text: str) -> Schedule:
    if text in _DESCRIPTORS:
        return parse(_DESCRIPTORS[text])
    prefix = "@every "
    if text.startswith(prefix):
        return Schedule(every=max(1, int(_parse_duration(text[len(prefix) :], text))))
    raise CronError(f"unrecognized descriptor: {text}")


def _parse_duration(text: str, whole: str) -> float:
    try:
        return durations.parse(text)
    except ValueError as e:
        raise CronError(f"failed to parse duration {whole}: {e}") from e


def _parse_field(text: str, low: int, high: int, names: dict[str, int]) -> _Field:
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        found, whole = _parse_range(part, low, high, names)
        values |= found
        star |= whole
    return _Field(frozenset(values), star)


def _parse_range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[set[int], bool]:
    """`*`, `?`, `N`, `N-M`, each with `/STEP`; and whether it stands for any value."""
    range_and_step = text.split("/")
    bounds = range_and_step[0].split("-")
    single, star = len(bounds) == 1, False
    if bounds[0] in ("*", "?"):
        start, end, star = low, high, True
    else:
        start = _number(bounds[0], names)
        if len(bounds) > 2:
            raise CronError(f"too many hyphens: {text}")
        end = start if single else _number(bounds[1], names)
    step = 1
    if len(range_and_step) > 2:
        raise CronError(f"too many slashes: {text}")
    if len(range_and_step) == 2:
        step = _number(range_and_step[1], {})
        if single:  # N/STEP means from N on
            end = high
        star = star and step <= 1
    if start < low:
        raise CronError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise CronError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return set(range(start, end + 1, step)), star


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise CronError(
            f"failed to parse int from {text}: strconv.Atoi: parsing {quote(text)}: invalid syntax"
        )
    number = int(text)
    if number < 0:
        raise CronError(f"negative number ({number}) not allowed: {text}")
    return number

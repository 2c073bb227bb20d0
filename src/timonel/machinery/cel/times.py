"""Timestamps and durations: their text forms, their parts in a time zone.

Upstream: cel-go common/types/{timestamp,duration}.go; Go's time.ParseDuration and RFC3339Nano.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.values import INT_MAX, Duration, Timestamp

SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_rfc3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII
).fullmatch
_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_part = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")


def parse_timestamp(text: str) -> Timestamp | None:
    found = _rfc3339(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    offset = 0
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            return None
        offset = (hours * 60 + minutes) * (-60 if zone[0] == "-" else 60)
    seconds = (moment - _EPOCH) // timedelta(seconds=1) - offset
    nanos = int((fraction or "0")[:9].ljust(9, "0"))
    try:
        return Timestamp(seconds * SECOND + nanos, offset)
    except EvaluationError:
        return None


def parse_date(text: str) -> Timestamp | None:
    return parse_timestamp(f"{text}T00:00:00Z")


def parse_duration(text: str) -> Duration | None:
    """Go's form, such as `1h30m` and `-1.5s`."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    if not rest or len(rest) > 1000:
        return None
    total = 0
    at = 0
    while at < len(rest):
        found = _part.match(rest, at)
        if found is None or not (found[1] or found[2]):
            return None
        unit = _UNITS[found[3]]
        total += int(found[1] or "0") * unit
        if found[2]:
            total += int(found[2]) * unit // 10 ** len(found[2])
        at = found.end()
    if total > INT_MAX:
        return None
    return Duration(-total if text[0] == "-" else total)


_WORDS = (
    (("ns", "nano"), 1),
    (("us", "µs", "micro"), 1000),
    (("ms", "milli"), 10**6),
    (("s", "sec"), SECOND),
    (("m", "min"), 60 * SECOND),
    (("h", "hr", "hour"), 3600 * SECOND),
    (("d", "day"), 86400 * SECOND),
    (("w", "wk", "week"), 604800 * SECOND),
)
_in_words = re.compile(r"(-?)(\d{1,18})\s*([A-Za-zµ]+)", re.ASCII)


def parse_worded_duration(text: str) -> Duration | None:
    """As schemas' format `duration` allows beyond Go's: `3 days`, `1 week 2 hours` (kube-openapi's strfmt)."""
    exact = parse_duration(text)
    if exact is not None:
        return exact
    total = 0
    negative = known = False
    for sign, count, word in _in_words.findall(text):
        unit = word.lower()
        for variants, nanos in _WORDS:
            if unit in variants or unit.startswith(variants[-1]):
                total += int(count) * nanos
                known = True
                break
        negative = negative or bool(sign)
    if not known or total > INT_MAX:
        return None
    return Duration(-total if negative else total)


def format_timestamp(moment: Timestamp) -> str:
    seconds, nanos = divmod(moment.nanos, SECOND)
    local = _civil(seconds + moment.offset)
    text = f"{local.year:04d}-{local.month:02d}-{local.day:02d}T{local:%H:%M:%S}"
    if nanos:
        text += f".{nanos:09d}".rstrip("0")
    if moment.offset == 0:
        return text + "Z"
    hours, minutes = divmod(abs(moment.offset) // 60, 60)
    return f"{text}{'-' if moment.offset < 0 else '+'}{hours:02d}:{minutes:02d}"


def _civil(seconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise EvaluationError("timestamp overflow") from None


def format_duration(duration: Duration) -> str:
    """Seconds with a fraction, as CEL prints durations."""
    whole, nanos = divmod(abs(duration.nanos), SECOND)
    text = str(whole)
    if nanos:
        text += f".{nanos:09d}".rstrip("0")
    return f"{'-' if duration.nanos < 0 else ''}{text}s"


_offset = re.compile(r"([+-]?)(\d{1,2}):(\d\d)", re.ASCII).fullmatch


def zone(name: str) -> tzinfo:
    """A zone by its name in the database, or by its offset (`-08:00`)."""
    if name in ("", "UTC", "Z"):
        return UTC
    found = _offset(name)
    if found is not None:
        hours, minutes = int(found[2]), int(found[3])
        if hours > 23 or minutes > 59:
            raise EvaluationError(f"time zone out of range: {name}")
        shift = timedelta(hours=hours, minutes=minutes)
        return timezone(-shift if found[1] == "-" else shift)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


def local(moment: Timestamp, name: str = "") -> datetime:
    """The civil time of a moment in a zone, to the second."""
    utc = _civil(moment.nanos // SECOND)
    if not name:
        return utc
    try:
        return utc.astimezone(zone(name))
    except OverflowError:
        raise EvaluationError("timestamp overflow") from None

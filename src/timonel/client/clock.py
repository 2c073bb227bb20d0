"""The time of a cluster, as whoever turns it sees it: over any transport, from a test or another process.

    clock = ClusterClock(transport)
    await clock.advance("400d")
    await clock.set("2030-01-01T00:00:00Z")

`advance` and `set` return when all that was due on the way has happened, or raise Stopped. Who may not turn it gets
Forbidden, who asks while another turns it Conflict, and for what is no way for time to go BadRequest. `timonel clock`
is made of this.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timonel.client.transport import Transport
from timonel.objects.meta import format_micro_time, parse_time

PATH = "/timonel/clock/"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
PIECE = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
LONGEST = 100.0 * UNITS["y"]  # seconds that time goes on at once
LOOK_EVERY = 1.0  # seconds of real time between two looks at a clock that moves


@dataclass(frozen=True, slots=True)
class Reading:
    """What a clock shows; times are seconds since the epoch."""

    kind: str  # virtual or system
    now: float
    moving: bool
    target: float | None = None  # where it is being turned to
    halted: bool = False  # when it was turned last, on its way


class Stopped(Exception):
    """Somebody stopped the clock on its way; `reading` says where."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(f"the clock was stopped on its way: it is {format_micro_time(reading.now)}")
        self.reading = reading


Told = Callable[[Reading], None]


class ClusterClock:
    def __init__(self, transport: Transport, *, look_every: float = LOOK_EVERY) -> None:
        self._transport, self._look_every = transport, look_every

    async def read(self) -> Reading:
        return await self._ask("GET", "now")

    async def advance(
        self, duration: str | float | datetime.timedelta, told: Told = lambda reading: None
    ) -> Reading:
        """Let time go on by seconds, a timedelta or a text such as "90s", "1h30m", "400d"; `told` hears of the way."""
        seconds = _seconds(duration)
        return await self._turn("advance", {"seconds": repr(seconds)}, told)

    async def set(
        self, moment: str | float | datetime.datetime, told: Told = lambda reading: None
    ) -> Reading:
        """Let time go on to a moment: RFC 3339, seconds since the epoch, or a datetime (in UTC if it has no zone)."""
        return await self._turn("set", {"time": as_time(moment)}, told)

    async def stop(self) -> Reading:
        """Whoever turns it gets no further: it stands where this says."""
        return await self._turn("stop", {}, lambda reading: None)

    async def _turn(self, what: str, query: dict[str, str], told: Told) -> Reading:
        patience = {"within": repr(self._look_every)}
        found = await self._ask("POST", what, query | patience)
        target = found.target
        while found.target is not None and found.target == target:
            told(found)
            found = await self._ask("GET", "settled", patience)
        if what != "stop" and (found.halted or (target is not None and found.now < target)):
            raise Stopped(found)
        return found

    async def _ask(self, method: str, what: str, query: dict[str, str] | None = None) -> Reading:
        found: dict[str, Any] = await self._transport.raw(method, PATH + what, query=query)
        now, target = parse_time(found["now"]), parse_time(found["target"])
        assert now is not None
        return Reading(found["kind"], now, found["moving"], target, found.get("halted", False))


def _seconds(duration: str | float | datetime.timedelta) -> float:
    if isinstance(duration, datetime.timedelta):
        return duration.total_seconds()
    return seconds_of(duration) if isinstance(duration, str) else float(duration)


def seconds_of(text: str) -> float:
    """Raises ValueError, which says what a duration looks like."""
    pieces = PIECE.findall(text)
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        return sum(float(number) * UNITS[unit] for number, unit in pieces)
    if text.startswith("-") and PIECE.match(text[1:]):
        raise ValueError(f"time does not go back: {text!r}")
    raise ValueError(f"{text!r} is no duration, such as 90s, 1h30m, 30d or 1y")


def as_time(moment: str | float | datetime.datetime) -> str:
    """A moment as the API writes it. Raises ValueError, which says what a time looks like."""
    if isinstance(moment, (int, float)):
        return format_micro_time(moment)
    found = moment
    if isinstance(found, str):
        try:
            found = datetime.datetime.fromisoformat(found)
        except ValueError:
            raise ValueError(f"{moment!r} is no time, such as 2030-01-01T00:00:00Z") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    try:
        return found.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        raise ValueError(f"{moment!r} is no time, such as 2030-01-01T00:00:00Z") from None

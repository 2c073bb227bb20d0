from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pytest

from timonel.aio.clock import SystemClock
from timonel.client.clock import ClusterClock, Reading, Stopped, as_time, seconds_of
from timonel.client.fake import MemoryTransport
from timonel.objects.meta import format_micro_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("400d", 400 * 86_400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1y", 365 * 86_400),
    ],
)
def test_a_duration_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "banana", "10", "1h banana", "h", "1 h", "1e3s", "--1h"])
def test_what_is_no_duration_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration, such as 90s"):
        seconds_of(text)


def test_a_duration_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="time does not go back: '-1h'"):
        seconds_of("-1h")


@pytest.mark.parametrize(
    "moment",
    [
        "2030-01-01T00:00:00Z",
        "2030-01-01",
        "2030-01-01T01:00:00+01:00",
        datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        1_893_456_000,
    ],
)
def test_a_moment_is_written_as_the_api_does(moment: str | float | datetime.datetime) -> None:
    assert as_time(moment) == "2030-01-01T00:00:00.000000Z"


@pytest.mark.parametrize("text", ["noon", "2030-13-01", "0001-01-01T00:00:00+10:00"])
def test_what_is_no_moment_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="is no time, such as 2030"):
        as_time(text)


class Answers(MemoryTransport):
    """Of a clock: (now, target) one after the other; the last one stands."""

    def __init__(self, *answers: tuple[float, float | None]) -> None:
        super().__init__(SystemClock())
        self.answers, self.asked = list(answers), list[tuple[str, str, Mapping[str, str] | None]]()

    async def raw(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        self.asked.append((method, path, query))
        now, target = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        shown = format_micro_time(target) if target is not None else None
        return {
            "kind": "virtual",
            "now": format_micro_time(now),
            "moving": shown is not None,
            "target": shown,
        }


@pytest.mark.parametrize("duration", ["1m", 60.0, 60, datetime.timedelta(minutes=1)])
async def test_who_turns_it_waits_until_it_has_come_there_and_hears_of_the_way(
    duration: str | float | datetime.timedelta,
) -> None:
    transport = Answers((10, 60), (30, 60), (60, None))
    way: list[float] = []

    found = await ClusterClock(transport).advance(duration, lambda reading: way.append(reading.now))

    assert found == Reading("virtual", 60, moving=False)
    assert way == [10, 30]
    assert [(method, path) for method, path, _ in transport.asked] == [
        ("POST", "/timonel/clock/advance"),
        ("GET", "/timonel/clock/settled"),
        ("GET", "/timonel/clock/settled"),
    ]
    assert float((transport.asked[0][2] or {})["seconds"]) == 60


@pytest.mark.parametrize("after", [(30.0, None), (30.0, 99.0)])  # it stands, or is turned by another
async def test_who_is_stopped_on_the_way_hears_where(after: tuple[float, float | None]) -> None:
    with pytest.raises(Stopped) as stopped:
        await ClusterClock(Answers((10, 60), after)).advance("1m")

    assert stopped.value.reading.now == 30

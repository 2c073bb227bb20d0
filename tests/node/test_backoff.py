from __future__ import annotations

import pytest

from timonel.node.backoff import Backoff, advance, spoken, waits_until


def test_the_first_failure_waits_for_nothing() -> None:
    assert waits_until(None, 100.0, 100.0) is None


def test_delays_double_up_to_five_minutes() -> None:
    entry, delays = advance(None, 0.0, 0.0), list[float]()
    for _ in range(7):
        delays.append(entry.delay)
        entry = advance(entry, entry.updated + 1, entry.updated + 1)

    assert delays == [10, 20, 40, 80, 160, 300, 300]


def test_a_quiet_time_starts_again() -> None:
    assert advance(Backoff(300.0, 0.0), 601.0, 601.0) == Backoff(10.0, 601.0)
    assert waits_until(Backoff(300.0, 0.0), 601.0, 602.0) is None


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (160, "2m40s"), (300, "5m0s"), (3600, "1h0m0s")])
def test_delays_are_spoken_as_go_does(seconds: float, text: str) -> None:
    assert spoken(seconds) == text

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from timonel.aio.clock import VirtualClock
from timonel.node.probes import Result, port_number, watch


class Watched:
    """Runs one probe against answers given by time since the container's start."""

    def __init__(self, probe: dict[str, Any], ok_from: float, ok_until: float = 1e9) -> None:
        self.clock = VirtualClock()
        self.start = self.clock.now()
        self.probe, self.ok_from, self.ok_until = probe, ok_from, ok_until
        self.asked: list[float] = []
        self.failures: list[float] = []
        self.states: list[tuple[float, bool]] = []

    @property
    def age(self) -> float:
        return round(self.clock.now() - self.start, 3)

    async def _ask(self) -> Result:
        self.asked.append(self.age)
        return Result(self.ok_from <= self.age < self.ok_until)

    def _told(self, state: bool, result: Result) -> bool:
        self.states.append((self.age, state))
        return True

    async def run(self, seconds: float) -> None:
        loop = watch(
            self.clock,
            self.probe,
            self._ask,
            self._told,
            lambda result: self.failures.append(self.age),
            started_at=self.start,
        )
        task = asyncio.ensure_future(loop)
        await self.clock.advance(seconds)
        task.cancel()


async def test_a_quick_container_is_soon_ready_and_its_first_moments_do_not_count() -> None:
    watched = Watched({"periodSeconds": 10}, ok_from=0.3)
    await watched.run(25)

    assert watched.states == [(0.4, True)]
    assert watched.failures == []
    assert watched.asked == [0.0, 0.2, 0.4, 10.4, 20.4]


async def test_failures_count_after_the_first_second() -> None:
    watched = Watched({"periodSeconds": 10, "failureThreshold": 2}, ok_from=100)
    await watched.run(25)

    assert watched.failures == [1.0, 11.0, 21.0]
    assert watched.states == [(11.0, False)]


async def test_the_initial_delay_is_kept() -> None:
    watched = Watched({"initialDelaySeconds": 5, "periodSeconds": 3}, ok_from=6)
    await watched.run(9)

    assert watched.asked == [5.0, 8.0]
    assert watched.failures == [5.0]


async def test_a_state_is_told_when_it_changes() -> None:
    watched = Watched({"periodSeconds": 1, "failureThreshold": 3}, ok_from=0, ok_until=5)
    await watched.run(10)

    assert watched.states == [(0.0, True), (7.0, False)]


@pytest.mark.parametrize(("port", "number"), [(80, 80), ("http", 8080), ("90", 90), ("none", None)])
def test_ports_are_found_by_name(port: int | str, number: int | None) -> None:
    assert port_number({"ports": [{"name": "http", "containerPort": 8080}]}, port) == number

"""What has failed for days is tried again at its longest interval, and goes on when it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.node.builders import pod
from timonel.aio.clock import SystemClock
from timonel.client.transport import Transport, Unreachable
from timonel.node import podactions
from timonel.node.podrunner import PodRunner
from timonel.node.statuswriter import StatusWriter
from timonel.node.volumes.source import VolumeError

MANY = 1_100  # the float 2.0 ** 1024 is too large


class LoopClock(SystemClock):
    """The wall clock follows the loop's time, which is virtual here."""

    def now(self) -> float:
        return 1_800_000_000.0 + asyncio.get_running_loop().time()


class Away:
    """Fails so many times, then answers."""

    def __init__(self, error: Exception) -> None:
        self._error, self.left, self.done = error, MANY, asyncio.Event()

    async def patch(self, *args: Any, **options: Any) -> dict[str, Any]:
        await self.set_up_volumes()
        return {**pod(), "metadata": {**pod()["metadata"], "resourceVersion": "7"}}

    async def set_up_volumes(self) -> None:
        if self.left:
            self.left -= 1
            raise self._error
        self.done.set()


@pytest.fixture
async def writer() -> AsyncIterator[tuple[StatusWriter, Away]]:
    away = Away(Unreachable("away"))
    found = StatusWriter(cast(Transport, away), LoopClock())
    task = asyncio.ensure_future(found.run())
    yield found, away
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_status_is_written_after_a_server_was_away_for_hours(
    writer: tuple[StatusWriter, Away],
) -> None:
    found, away = writer
    found.submit(pod(), {"phase": "Running"})

    async with asyncio.timeout(MANY * 11):
        await away.done.wait()


async def test_volumes_are_made_after_a_thousand_failures() -> None:
    preparation = Away(VolumeError("no disk"))
    runner = SimpleNamespace(
        _preparation=preparation,
        _around=SimpleNamespace(records=SimpleNamespace(record=lambda *args: None)),
        _failures={},
        _references_new=asyncio.Event(),
        _clock=LoopClock(),
        pod=pod(),
    )

    await PodRunner._make_volumes(cast(PodRunner, runner))

    assert preparation.done.is_set()


async def test_a_sandbox_is_held_back_for_a_minute_after_a_thousand_failures() -> None:
    clock = LoopClock()
    runner = SimpleNamespace(_failures={podactions.SANDBOX: MANY}, _retry_at={}, _clock=clock)

    PodRunner._hold_back(cast(PodRunner, runner), podactions.SANDBOX)

    assert runner._retry_at[podactions.SANDBOX] == pytest.approx(clock.now() + 60)

from __future__ import annotations

import asyncio

import pytest

from timonel.aio.clock import VirtualClock
from timonel.server.resilience import kept
from timonel.store.base import Unreachable


async def test_work_begins_anew_when_the_store_was_away() -> None:
    clock, attempts = VirtualClock(), list[int]()

    async def fail() -> None:
        raise Unreachable("away")

    async def work() -> None:
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise Unreachable("away")
        if len(attempts) == 2:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(kept(work, clock))
        for _ in range(3):
            await clock.advance(1.0)
        assert task.done()

    assert attempts == [0, 1, 2]


async def test_any_other_error_ends_it() -> None:
    async def fail() -> None:
        raise KeyError("a mistake")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await kept(work, VirtualClock())

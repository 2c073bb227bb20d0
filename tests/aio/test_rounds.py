"""One call for all who asked before it began; nobody gets an answer that is older than the question."""

from __future__ import annotations

import asyncio

import pytest

from timonel.aio.rounds import Rounds


class Counter:
    """Each call takes a second and answers with its number, counted when it begins."""

    def __init__(self) -> None:
        self.calls = 0

    async def ask(self) -> int:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(1)
        return number


async def after(rounds: Rounds[int], seconds: float) -> int:
    await asyncio.sleep(seconds)
    return await rounds.answer()


async def test_who_comes_while_one_is_under_way_shares_the_next() -> None:
    counter = Counter()
    rounds = Rounds(counter.ask)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(after(rounds, delay)) for delay in (0, 0.2, 0.5, 0.9, 1.2, 1.9)]

    assert [task.result() for task in tasks] == [1, 2, 2, 2, 3, 3]
    assert counter.calls == 3


async def test_an_error_is_that_of_all_who_share_the_call() -> None:
    async def fail() -> int:
        await asyncio.sleep(1)
        raise KeyError("away")

    rounds = Rounds(fail)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(failing(rounds, delay)) for delay in (0, 0.2, 0.5)]

    assert [task.result() for task in tasks] == [True, True, True]


async def failing(rounds: Rounds[int], delay: float) -> bool:
    with pytest.raises(KeyError):
        await after(rounds, delay)
    return True


async def test_who_leaves_leaves_the_others_their_answer() -> None:
    counter = Counter()
    rounds = Rounds(counter.ask)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(rounds.answer())
        others = [group.create_task(after(rounds, 0.1)) for _ in range(3)]
        await asyncio.sleep(0.5)
        first.cancel()

    assert [task.result() for task in others] == [2, 2, 2]

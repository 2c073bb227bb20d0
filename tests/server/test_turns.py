"""Large answers take turns, a moment in each turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from timonel.server import turns
from timonel.server.turns import Turns


def steps(name: str, count: int, log: list[str]) -> Callable[[], bool]:
    def step() -> bool:
        log.append(name)
        return log.count(name) < count

    return step


async def test_they_go_on_one_after_the_other_until_they_have_nothing_more_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "MOMENT", 0.0)  # each step takes a whole turn
    queue, log = Turns(), list[str]()

    queue.add(steps("a", 2, log), log.clear)
    queue.add(steps("b", 3, log), log.clear)
    queue.add(steps("c", 1, log), log.clear)
    at_once = list(log)
    others: list[int] = []
    for _ in range(10):
        asyncio.get_running_loop().call_soon(lambda: others.append(len(log)))
        await asyncio.sleep(0)

    assert at_once == ["a"]
    assert log == ["a", "b", "c", "a", "b", "b"] or log == ["a", "a", "b", "c", "b", "b"]
    assert others[:5] == [2, 3, 4, 5, 6]  # somebody else had a turn after each


async def test_one_that_fails_is_told_and_the_others_go_on() -> None:
    queue, log = Turns(), list[str]()

    def fail() -> bool:
        raise RuntimeError

    queue.add(fail, partial(log.append, "failed"))
    queue.add(steps("a", 2, log), log.clear)
    await queue.wait()

    assert log == ["failed", "a", "a"] or log == ["failed", "a"]

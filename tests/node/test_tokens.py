from __future__ import annotations

import asyncio
from typing import Any

from tests.node.builders import pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import LoopClock
from timonel.node.tokens import AT_ONCE, Tokens


class SlowApi(FakeApi):
    """Takes a second for each token, and counts how many it makes at once."""

    def __init__(self) -> None:
        super().__init__(LoopClock().now)
        self.now = self.most = self.made = 0

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        self.now += 1
        self.made += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(1)
        self.now -= 1
        return await super().create(*args, **kwargs)


async def test_many_pods_that_start_together_ask_for_their_tokens_in_turn() -> None:
    api = SlowApi()
    tokens = Tokens(api, LoopClock())
    async with asyncio.TaskGroup() as group:
        for number in range(4 * AT_ONCE):
            group.create_task(tokens.get(pod(uid=str(number)), "", 3600))

    assert (api.most, api.made) == (AT_ONCE, 4 * AT_ONCE)


async def test_a_token_is_kept_until_most_of_its_life_is_over() -> None:
    api = SlowApi()
    tokens = Tokens(api, LoopClock())
    for pause in (0, 2000, 1000):
        await asyncio.sleep(pause)
        await tokens.get(pod(), "", 3600)

    assert api.made == 2

"""The switch of a simulated node that has an agent: while its Node says `stopped`, the agent does not run.

As with a machine that is switched off, nothing is heard of it: no Lease, no status, no work on pods, no API. Its
runtime goes on, so that an agent that is started again takes up what it finds there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from timonel.aio.clock import Clock
from timonel.aio.lifecycle import Service, running
from timonel.client.transport import Transport
from timonel.node.follow import Changed, Replaced, follow
from timonel.node.heartbeat import NODES
from timonel.node.simulation import machines
from timonel.objects.meta import Object


class SwitchedNode:
    """Runs what `make` makes, afresh each time that it is switched on. Ready when that is, or when it is off.

    Without a Node it is on, since it is the agent that registers one."""

    def __init__(self, name: str, transport: Transport, clock: Clock, make: Callable[[], Service]) -> None:
        self.name = f"simulated node {name}"
        self._node, self._transport, self._clock, self._make = name, transport, clock, make

    async def run(self, ready: asyncio.Event) -> None:
        agent: asyncio.Task[None] | None = None
        mine = f"metadata.name={self._node}"
        async with asyncio.TaskGroup() as group:
            async for news in follow(self._transport, self._clock, NODES, field_selector=mine):
                is_off = any(map(machines.is_stopped, _present(news)))
                if is_off and agent is not None:
                    agent.cancel()
                    await asyncio.wait([agent])
                    agent = None
                elif not is_off and agent is None:
                    agent = group.create_task(self._live(ready), name=self.name)
                if is_off:
                    ready.set()

    async def _live(self, ready: asyncio.Event) -> None:
        async with running(self._make()):
            ready.set()
            await asyncio.Event().wait()


def _present(news: Replaced | Changed) -> Sequence[Object]:
    if isinstance(news, Replaced):
        return news.objects
    return () if news.is_deleted else (news.object,)

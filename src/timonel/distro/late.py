"""The scheduler begins when there is something for it to do: with the first pod that has no node, or soon after the
first node, so that the first pod need not wait for it.

It stands on NumPy, which takes 40 ms and 15 MB. A control plane without pods pays for it at no time, and a start does
not wait for what nobody asks for yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from timonel.aio.clock import Clock
from timonel.aio.lifecycle import Service
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import StatusError

SOON = 2.0  # seconds after the first node: whoever starts a cluster has been told by then that it is ready
UNSCHEDULED = "spec.nodeName="


class WhenNeeded:
    """`make` gives the service when its time has come; before that this one is ready in its place."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Service],
        transport: Transport,
        *,
        pods: Resource,
        nodes: Resource,
        clock: Clock,
    ) -> None:
        """`clock` is that of the world around."""
        self.name = name
        self.service: Service | None = None
        self._make, self._transport, self._clock = make, transport, clock
        self._pods, self._nodes = pods, nodes

    async def run(self, ready: asyncio.Event) -> None:
        ready.set()
        await self._needed()
        self.service = self._make()
        await self.service.run(asyncio.Event())

    async def _needed(self) -> None:
        needed = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._look(self._pods, UNSCHEDULED, needed)),
                group.create_task(self._look_for_nodes(needed)),
            ]
            await needed.wait()
            for task in tasks:
                task.cancel()

    async def _look_for_nodes(self, needed: asyncio.Event) -> None:
        found = asyncio.Event()
        await self._look(self._nodes, "", found)
        await self._clock.sleep(SOON)
        needed.set()

    async def _look(self, resource: Resource, selector: str, found: asyncio.Event) -> None:
        """Until there is one. Who gets no answer takes it that there is: the service itself asks on."""
        try:
            while not await self._is_there(resource, selector):
                pass  # the server has ended the watch: look again
        except (StatusError, Unreachable):
            pass
        found.set()

    async def _is_there(self, resource: Resource, selector: str) -> bool:
        page = await self._transport.list(resource, field_selector=selector, limit=1)
        if page.items:
            return True
        async for event in self._transport.watch(
            resource, field_selector=selector, resource_version=page.resource_version, metadata_only=True
        ):
            if event.type == "ADDED":
                return True
        return False

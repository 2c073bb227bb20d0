"""Runs controllers: one set of informers, and for each controller a transport (and so a user) of its own.

A `ControllerType` is run by `controller.Controller`, a `GraphControllerType` by `graph.GraphController`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from timonel.aio.clock import Clock, upkeep
from timonel.client.discovery import ResourceIndex
from timonel.client.informer import InformerFactory
from timonel.client.transport import Transport
from timonel.control.controller import Controller
from timonel.control.declare import AnyControllerType, GraphControllerType
from timonel.control.executors import Authority
from timonel.control.graph import GraphController

AnyType = AnyControllerType | GraphControllerType


class Controllers:
    """A service: runs controllers over shared informers, each with a transport (and so a user) of its own."""

    name = "controllers"

    def __init__(
        self,
        types: Iterable[AnyType],
        *,
        transport_for: Callable[[str], Transport],
        index: ResourceIndex,
        clock: Clock,
        informers: InformerFactory | None = None,
        authority: Authority | None = None,
    ) -> None:
        """`authority` has the cluster's keys, where that is this process's business. `informers` is given where
        somebody else runs them; else they are made here, as the controller manager."""
        self._authority = authority
        self._owns_informers = informers is None
        self.informers = informers or InformerFactory(transport_for("kube-controller-manager"), clock, index)
        self.controllers = [
            self._made(what, transport_for(what.name), index, clock)
            for what in sorted(types, key=lambda what: isinstance(what, GraphControllerType))
        ]  # graph controllers last: they share the informers that the others have asked for

    def _made(
        self, what: AnyType, transport: Transport, index: ResourceIndex, clock: Clock
    ) -> Controller | GraphController:
        if isinstance(what, GraphControllerType):
            return GraphController(
                what, transport=transport, informers=self.informers, index=index, clock=clock
            )
        return Controller(
            what,
            transport=transport,
            informers=self.informers,
            index=index,
            clock=upkeep(clock, watches=True) if what.watches_life else clock,
            authority=self._authority,
        )

    async def run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            if self._owns_informers:
                synced = asyncio.Event()
                group.create_task(self.informers.run(synced), name=self.informers.name)
                await synced.wait()
            started = [asyncio.Event() for _ in self.controllers]
            for controller, event in zip(self.controllers, started, strict=True):
                group.create_task(controller.run(event), name=controller.name)
            for event in started:
                await event.wait()
            ready.set()

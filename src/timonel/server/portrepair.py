"""Looks now and then whether node ports are in order: each in the range, each of one Service, each claimed.

Upstream: pkg/registry/core/service/portallocator/controller/repair.go, every 3 minutes.
"""

from __future__ import annotations

import asyncio
import logging

from timonel.aio.clock import Clock, upkeep
from timonel.machinery import errors
from timonel.objects.meta import key_of
from timonel.server.claims import Claims
from timonel.server.ranges import PortRange
from timonel.server.request import Objects, Reader
from timonel.server.servicefindings import PORT_REPAIR, Notes, about_ports, ports_of
from timonel.store.base import StoreError

logger = logging.getLogger(__name__)

REPAIR_EVERY = 180.0


class PortRepair:
    """`claims` are there where other servers give out ports, too; else Services alone say who has which."""

    def __init__(
        self, objects: Objects, reader: Reader, clock: Clock, ports: PortRange, claims: Claims | None
    ) -> None:
        self._reader, self._clock, self._ports, self._claims = reader, clock, ports, claims
        self._notes = Notes(objects, clock, PORT_REPAIR)
        self._due = asyncio.Event()
        self._due.set()  # nobody knows what was before the start

    async def run(self) -> None:
        while True:
            timer = upkeep(self._clock).call_later(REPAIR_EVERY, self._due.set)
            await self._due.wait()
            timer.cancel()
            self._due.clear()
            try:
                await self.repair()
            except (errors.StatusError, StoreError) as error:
                logger.warning("Could not look after the node ports of Services: %s", error)

    async def repair(self) -> None:
        services = [each for each in self._reader.list("services") if ports_of(each)]
        claimed = await self._claims.numbers() if self._claims is not None and services else None
        found = list(about_ports(services, self._ports.first, self._ports.last, claimed))
        await self._notes.tell(found)
        for finding in found:
            if finding.mend and self._claims is not None:
                await self._claims.take(int(finding.mend), key_of(finding.about))

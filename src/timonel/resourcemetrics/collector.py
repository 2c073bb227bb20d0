"""Asks the agents of nodes what they and their pods use, when somebody wants to know; between questions nothing runs.

What was found stays good for `FRESH` seconds. Who has not asked for longer than `STALE` gets two looks, a moment apart,
where agents tell no rates: the average of a long silence is not what anybody means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import NamedTuple

from timonel.aio.clock import Clock, outside
from timonel.client.transport import Transport, Unreachable
from timonel.machinery.errors import StatusError
from timonel.records import dataclass
from timonel.resourcemetrics.usage import Look, look

logger = logging.getLogger(__name__)

FRESH = 10.0  # seconds
STALE = 60.0
MOMENT = 1.0
AT_ONCE = 32  # nodes that are asked at the same time


class Looks(NamedTuple):
    latest: Look
    before: Look | None
    between: float  # seconds between them


@dataclass(slots=True)
class _Known:
    latest: Look | None = None
    before: Look | None = None
    at: float = 0.0  # when `latest` was had, by the machine's clock
    between: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Collector:
    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport, self._real = transport, outside(clock)
        self._known: dict[str, _Known] = {}
        self._seats = asyncio.Semaphore(AT_ONCE)

    async def looks(self, nodes: Iterable[str]) -> Mapping[str, Looks]:
        """At the nodes of these names; those that do not answer are left out."""
        wanted = list(dict.fromkeys(nodes))
        found: dict[str, Looks] = {}

        async def one(name: str) -> None:
            try:
                found[name] = await self._looks(name)
            except (StatusError, Unreachable, KeyError, TypeError, ValueError) as exc:
                logger.info("Node %s does not tell what it uses: %s", name, exc)

        async with asyncio.TaskGroup() as group:
            for name in wanted:
                group.create_task(one(name))
        return found

    def forget(self, there: Iterable[str]) -> None:
        """All nodes but these."""
        for name in self._known.keys() - set(there):
            del self._known[name]

    async def _looks(self, name: str) -> Looks:
        known = self._known.setdefault(name, _Known())
        async with known.lock:
            silence = self._real.monotonic() - known.at
            if known.latest is None or silence > STALE:
                known.latest = known.before = None
            if known.latest is None or silence > FRESH:
                await self._ask(name, known)
                if known.before is None and known.latest is not None and not known.latest.has_rates:
                    await self._real.sleep(MOMENT)
                    await self._ask(name, known)
            assert known.latest is not None
            return Looks(known.latest, known.before, known.between)

    async def _ask(self, name: str, known: _Known) -> None:
        async with self._seats:
            summary = await self._transport.raw(
                "GET", f"/api/v1/nodes/{name}/proxy/stats/summary", query={"only_cpu_and_memory": "true"}
            )
        now = self._real.monotonic()
        known.latest, known.before = look(summary), known.latest
        known.at, known.between = now, now - known.at

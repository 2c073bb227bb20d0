"""The HTTP server: sockets that listen, the connections that come of them, and how all of that ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import Any

from timonel.aio.clock import Timer
from timonel.records import dataclass
from timonel.server.exchange import Handler
from timonel.server.http import Connection
from timonel.server.listening import Listener, bound, open_files
from timonel.server.turns import Turns

MOST_CONNECTIONS = 32_768
RESERVED_FILES = 128  # of those that the process may open: for the store, logs, calls of its own
FAREWELL = 2.0  # seconds that connections get to close when the server stops
LAST_ANSWERS = 10.0  # seconds that requests in flight get to be answered


@dataclass(slots=True)
class HttpServer:
    """Listens for the length of `run`. `date` gives the text of the Date header; `later` is the clock's."""

    handler: Handler
    tls: ssl.SSLContext | None
    hosts: tuple[str, ...]
    port: int
    date: Callable[[], bytes]
    later: Callable[[float, Callable[[], None]], Timer]
    audit_id: Callable[[], bytes]  # a fresh one for each answer
    most: int = MOST_CONNECTIONS
    turns: Turns = field(default_factory=Turns)
    connections: dict[Connection, None] = field(default_factory=dict)  # in the order in which they came
    _group: asyncio.TaskGroup | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _date: bytes = b""
    _standard: bytes = b""

    def spawn(self, work: Any) -> asyncio.Task[None]:
        assert self._group is not None
        return self._group.create_task(work)

    def soon(self, callback: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        self._loop.call_soon(callback, *args)

    def standard_headers(self) -> bytes:
        """Those that all answers have, until the date is another one."""
        date = self.date()
        if date is not self._date:
            self._date = date
            self._standard = b"Cache-Control: no-cache, private\r\nDate: %b\r\n" % date
        return self._standard

    async def run(self, listening: Callable[[int], None], wait: Callable[[float], Awaitable[None]]) -> None:
        """Serve until cancelled; `listening` gets the port. `wait` sleeps."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            self._group = group
            sockets = bound(self.hosts, self.port)
            self.most = min(self.most, max(open_files() - RESERVED_FILES, 1))
            listener = Listener(
                sockets,
                self.tls,
                lambda: Connection(self),
                spawn=self.spawn,
                later=self.later,
                room=self._room,
            )
            listener.open()
            try:
                listening(sockets[0].getsockname()[1])
                await self._loop.create_future()  # until cancelled
            finally:
                listener.close()
                await self._farewell(wait)

    def _room(self) -> bool:
        """Whether there is room for one more connection, if need be in the place of one that is idle."""
        if len(self.connections) < self.most:
            return True
        idle = next((c for c in self.connections if c.is_idle), None)
        if idle is None:
            return False
        idle.retire()
        return True

    async def _farewell(self, wait: Callable[[float], Awaitable[None]]) -> None:
        for connection in tuple(self.connections):
            connection.retire()
        waited = 0.0
        while waited < (LAST_ANSWERS if any(c.is_busy for c in self.connections) else FAREWELL):
            if not self.connections:
                break
            await wait(0.01)
            waited += 0.01
        for connection in tuple(self.connections):
            connection.abort()

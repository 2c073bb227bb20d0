"""The agent's API for an API server in the same process: pairs of sockets stand in for a port, TLS and certificates.

Whoever holds the `NearbyServer` may connect; nobody else can reach it, so there is nobody to be refused. A node costs
nothing until somebody asks it something, which is what lets thousands of simulated nodes serve logs.
"""

from __future__ import annotations

import asyncio
import socket

from timonel.node import httpserver
from timonel.node.http1 import HEAD_LIMIT


class NearbyServer:
    """As `api.HttpsServer`: `bind`, then `serve`; `connect` is for the API server."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[socket.socket] | None = None  # None: nobody serves

    async def bind(self) -> int:
        """No port: the node's status says 0, as a node without a server does."""
        return 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The client's end of a new connection; whoever asked closes it."""
        if self._waiting is None:
            raise ConnectionRefusedError
        ours, theirs = socket.socketpair()
        self._waiting.put_nowait(theirs)
        return await asyncio.open_unix_connection(sock=ours, limit=HEAD_LIMIT)

    async def serve(self, handler: httpserver.Handler) -> None:
        waiting = self._waiting = asyncio.Queue[socket.socket]()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    theirs = await waiting.get()
                    reader, writer = await asyncio.open_unix_connection(sock=theirs, limit=HEAD_LIMIT)
                    group.create_task(
                        httpserver.serve_connection(reader, writer, handler), name="node api connection"
                    )
        finally:
            self._waiting = None
            while not waiting.empty():
                waiting.get_nowait().close()

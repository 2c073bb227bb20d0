"""One HTTP/1.1 connection as a client: requests one after the other, bodies whole or chunk by chunk."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import cast

import httptools

from timonel.client.transport import Unreachable

MOST_UNREAD = 4 << 20  # bytes of a streamed body that may wait before reading pauses


def why_not_connected(host: str, port: int, exc: OSError) -> str:
    """In Go's words, whichever loop has tried."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {exc.verify_message or exc}"
    if isinstance(exc, ssl.SSLError):
        return f"tls: {getattr(exc, 'reason', '') or exc}"
    if isinstance(exc, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    why = f"connect: {os.strerror(exc.errno).lower()}" if exc.errno else str(exc)
    return f"dial tcp {_shown(host, port)}: {why}"


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection(asyncio.Protocol):
    """Made by `connect`; whoever holds it closes it, or returns it to a pool where `reusable` says so."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reusable = True
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._paused = False
        self._head_done = self._body_done = False
        self._lost: Exception | None = None
        self._wake: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None

    @classmethod
    async def connect(
        cls, host: str, port: int, context: ssl.SSLContext | None, *, timeout: float, server_name: str = ""
    ) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(
                    cls, host, port, ssl=context, server_hostname=(server_name or host) if context else None
                )
        except TimeoutError as exc:
            raise Unreachable(f"dial tcp {_shown(host, port)}: i/o timeout") from exc
        except OSError as exc:
            raise Unreachable(why_not_connected(host, port, exc)) from exc
        return connection

    @property
    def is_open(self) -> bool:
        return self._lost is None and self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a request and wait for the head of the answer, which is then in `status` and `headers`."""
        if not self.is_open:
            raise Unreachable("connection is closed")
        assert self._transport is not None
        self.status, self.headers = 0, {}
        self._chunks.clear()
        self._unread = 0
        self._head_done = self._body_done = False
        self._parser = httptools.HttpResponseParser(self)
        head = [f"{method} {target} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if body or method not in ("GET", "HEAD"):
            head.append(f"Content-Length: {len(body)}")
        self._transport.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        while not self._head_done:
            await self._wait()

    async def read(self) -> bytes:
        """The whole body."""
        parts = [chunk async for chunk in self.chunks()]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._unread -= len(chunk)
                if self._paused and self._unread < MOST_UNREAD // 2 and self._transport is not None:
                    self._paused = False
                    self._transport.resume_reading()
                yield chunk
            if self._body_done:
                return
            await self._wait()

    async def _wait(self) -> None:
        if self._lost is not None:
            raise Unreachable(f"connection lost: {self._lost}")
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.reusable = False
        except httptools.HttpParserError as exc:
            self._lost = exc
            self.close()
        self._awake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._head_done and not self._body_done and "content-length" not in self.headers:
            chunked = "chunked" in self.headers.get("transfer-encoding", "")
            self._body_done = not chunked  # a body without a length ends with its connection
        self._lost = self._lost or exc or ConnectionError("EOF")
        self._awake()

    # ---- httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self.headers = {}
            return
        self.status = status
        self.reusable = self._parser.should_keep_alive()
        self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._unread += len(body)
        if self._unread > MOST_UNREAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head_done:
            self._body_done = True

"""A webhook as it runs in a cluster: a TLS server with a certificate of its own CA that answers as a test wants."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from timonel.aio.clock import SystemClock
from timonel.distro.pki import Authority

Object = dict[str, Any]
Answer = tuple[int, bytes] | bytes | Object


@dataclass
class WebhookServer:
    """`answer` maps (path, body) to a JSON tree, to bytes, or to a status with bytes."""

    answer: Callable[[str, Object], Awaitable[Answer]]
    ca: str = ""  # PEM
    port: int = 0
    requests: list[tuple[str, Object]] = field(default_factory=list)
    connections: int = 0
    headers: list[Mapping[str, str]] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def bundle(self) -> str:
        return base64.b64encode(self.ca.encode()).decode()

    def client_config(self, path: str = "/") -> Object:
        return {"url": f"https://localhost:{self.port}{path}", "caBundle": self.bundle}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = first.split(" ")[1]
                tree = orjson.loads(body) if body else {}
                self.requests.append((path, tree))
                self.headers.append(headers)
                found = await self.answer(path, tree)
                status, data = found if isinstance(found, tuple) else (200, found)
                kind = "application/json" if isinstance(data, dict) else "text/plain"
                raw = orjson.dumps(data) if isinstance(data, dict) else data
                answer_head = (
                    f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n"
                )
                writer.write(answer_head.encode() + raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self.writers.discard(writer)
            writer.close()


def server_context(folder: Path, *hosts: str) -> tuple[ssl.SSLContext, str]:
    """The context of a server that is called so, and its CA."""
    authority = Authority(folder, now=SystemClock().now())
    files = authority.server("webhook", user="webhook", hosts=hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context, authority.pem


@asynccontextmanager
async def webhook_server(
    folder: Path,
    answer: Callable[[str, Object], Awaitable[Answer]],
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
    *,
    asks_clients: bool = False,
) -> AsyncIterator[WebhookServer]:
    context, ca = server_context(folder, *hosts)
    if asks_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=ca)
    found = WebhookServer(answer, ca)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in found.writers:
            writer.transport.abort()
        for _ in range(100):
            if not found.writers:
                break
            await asyncio.sleep(0)

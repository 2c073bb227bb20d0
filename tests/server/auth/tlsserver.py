"""A small HTTPS server in the test's own process, with an authority of its own: a provider, or a webhook."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.server.fakes import FakeReader
from timonel.aio.clock import Clock
from timonel.client.https import Endpoint, tls_context
from timonel.distro import pki
from timonel.server.outbound import Outbound

NOW = 1_800_000_000.0


@dataclass
class Asked:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def tree(self) -> Any:
        return orjson.loads(self.body)

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")


Answerer = Callable[[Asked], tuple[int, Any]]


@dataclass
class TlsServer:
    """Answers with a status and a tree (or bytes); remembers what it was asked."""

    answer: Answerer
    context: ssl.SSLContext
    ca: str
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    clients: list[Outbound] = field(default_factory=list)  # to be closed before

    def outbound(self, clock: Clock) -> Outbound:
        self.clients.append(Outbound(FakeReader(), clock))
        return self.clients[-1]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.url}/hook", tls_context(ca_data=self.ca))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                headers = [
                    (name.strip(), value.strip())
                    for name, _, value in (line.partition(":") for line in lines if line)
                ]
                size = next((int(v) for k, v in headers if k.lower() == "content-length"), 0)
                method, path, _ = first.split(" ")
                asked = Asked(method, path, headers, await reader.readexactly(size))
                self.asked.append(asked)
                status, tree = self.answer(asked)
                if status == 101:
                    writer.write(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
                    while data := await reader.read(1000):
                        writer.write(data.upper())
                    break
                if status == 0:  # not even HTTP
                    writer.write(tree)
                    break
                body = tree if isinstance(tree, bytes) else orjson.dumps(tree)
                lines = [
                    f"HTTP/1.1 {status} X",
                    "Content-Type: application/json",
                    f"Content-Length: {len(body)}",
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client is gone
        writer.close()


def server_of(answer: Answerer, folder: Path, *, now: float = NOW, clients: str = "") -> TlsServer:
    authority = pki.Authority(folder, now=now)
    files = authority.server("server", user="server", hosts=["localhost", "127.0.0.1", "widgets.default.svc"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if clients:
        context.load_verify_locations(cadata=clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return TlsServer(answer, context, authority.pem)


@asynccontextmanager
async def listening(server: TlsServer) -> AsyncIterator[TlsServer]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", server.port, ssl=server.context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for client in server.clients:
            client.close()
        for connection in server.connections:
            connection.close()
            with suppress(OSError):
                await connection.wait_closed()

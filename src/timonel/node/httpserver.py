"""A small HTTPS/1.1 server for the agent: one request per handler call, keep-alive, connections that are handed over.

It knows TLS and who is on the other side, and nothing about nodes. Upgrades (exec, attach, port-forward) leave
HTTP: from then on bytes are carried both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import field
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from timonel.node.http1 import HEAD_LIMIT, parse_head
from timonel.records import dataclass

logger = logging.getLogger(__name__)

BODY_LIMIT = 1 << 20
PATIENCE = 30.0  # seconds for the head of a request and for its body; TLS gets as long to begin
STRANGERS = 64  # connections at once without a certificate: any pod may connect, even though none is answered


@dataclass(frozen=True, slots=True)
class Peer:
    """The subject of the client's certificate; both empty when it showed none."""

    name: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: tuple[tuple[str, str], ...]
    peer: Peer
    head: bytes  # as it came: for handing over

    def header(self, name: str) -> str:
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), "")

    def flag(self, *names: str) -> bool:
        return any(self.query.get(name, [""])[0] in ("1", "true") for name in names)

    def value(self, name: str) -> str:
        return self.query.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class Response:
    """`body` is sent in chunks when it is an iterator."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HandOver:
    """The rest of the connection belongs to whatever listens at (host, port): `head` is what to tell it first."""

    host: str
    port: int
    head: bytes


class Handler(Protocol):
    async def handle(self, request: Request) -> Response | HandOver: ...


REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
}  # fmt: skip


def parse_request(head: bytes, peer: Peer) -> Request | None:
    first, headers = parse_head(head)
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    try:
        target = urlsplit(words[1])
    except ValueError:  # such as //[
        return None
    query = parse_qs(target.query, keep_blank_values=True)
    return Request(words[0], unquote(target.path), query, headers, peer, head)


def peer_of(writer: asyncio.StreamWriter) -> Peer:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls is not None else None
    names = dict[str, list[str]]()
    for rdn in (certificate or {}).get("subject", ()):
        for key, value in rdn:  # type: ignore[str-unpack]  # a tuple of pairs, typed too widely
            names.setdefault(str(key), []).append(str(value))
    return Peer("".join(names.get("commonName", [])), tuple(names.get("organizationName", [])))


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    """Until the peer goes away or the connection is handed over."""
    peer = peer_of(writer)
    try:
        while True:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            request = parse_request(head, peer)
            if request is None:
                await _send(writer, Response(400, b"bad request\n"))
                return
            answer = await handler.handle(request)
            if isinstance(answer, HandOver):
                await splice(reader, writer, answer)
                return
            async with asyncio.timeout(PATIENCE):
                is_clean = await _drain_body(reader, request)
            await _send_while_heard(reader, writer, answer)
            if not is_clean or request.header("connection").lower() == "close":
                return
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):  # a timeout is an OSError
        return
    except Exception:
        logger.exception("A connection failed")  # the others are served on
    finally:
        writer.close()


async def _drain_body(reader: asyncio.StreamReader, request: Request) -> bool:
    """Whether what comes next is a request: not after a body whose end is not known, or too far away."""
    length = request.header("content-length") or "0"
    if (
        request.header("transfer-encoding")
        or not length.isdecimal()
        or len(length) > 9
        or int(length) > BODY_LIMIT
    ):
        return False
    await reader.readexactly(int(length))
    return True


async def _send_while_heard(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response
) -> None:
    """Send; an endless body (a log that is followed) stops when the client goes away."""
    if isinstance(response.body, bytes):
        await _send(writer, response)
        return
    try:
        await _race(reader, writer, response)
    except* OSError as e:
        raise ConnectionError("the client went away") from e


async def _race(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response) -> None:
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_send(writer, response), name="response")
        leaving = group.create_task(_until_gone(reader, sending), name="client")
        await asyncio.wait((sending,))
        leaving.cancel()
    if sending.cancelled():
        raise ConnectionError("the client went away")


async def _until_gone(reader: asyncio.StreamReader, sending: asyncio.Task[None]) -> None:
    """A client that follows a log sends nothing more: what can be read is its end."""
    with contextlib.suppress(OSError):
        await reader.read(1)
    sending.cancel()


async def _send(writer: asyncio.StreamWriter, response: Response) -> None:
    body = response.body
    lines = [
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, '')}",
        f"Content-Type: {response.content_type}",
    ]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if isinstance(body, bytes):
        lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await writer.drain()
        return
    lines.append("Transfer-Encoding: chunked")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    await writer.drain()
    async for piece in body:
        if piece:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: HandOver) -> None:
    """Carry bytes both ways until the far side is through."""
    try:
        far_reader, far_writer = await asyncio.open_connection(to.host, to.port, limit=HEAD_LIMIT)
    except OSError as e:
        await _send(writer, Response(502, f"the runtime's streaming server does not answer: {e}\n".encode()))
        return
    try:
        far_writer.write(to.head)
        async with asyncio.TaskGroup() as group:
            outward = group.create_task(_carry(reader, far_writer), name="to the runtime")
            await _carry(far_reader, writer)
            outward.cancel()
    finally:
        far_writer.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(HEAD_LIMIT):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except OSError:
        return

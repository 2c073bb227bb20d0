"""Connections to node agents: where a node listens, and HTTP/1.1 to it over TLS, just as much as a relay needs.

Upstream: pkg/kubelet/client/kubelet_client.go, apiserver/pkg/util/proxy/*.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.request import Reader

# Differs from upstream's default: the address comes first, since names of nodes need no DNS here.
PREFERRED = ("InternalIP", "InternalDNS", "Hostname", "ExternalIP", "ExternalDNS")
KUBELET_PORT = 10250
CHUNK = 1 << 16
DIAL_TIMEOUT = 30.0
_MOST_HEAD = 1 << 16

Headers = Sequence[tuple[str, str]]
Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Unreachable(Exception):
    """No connection, or it broke before an answer; the text names the cause."""


@dataclass(slots=True)
class Backend:
    """An open connection to a server behind this one. `keep`, if any, takes it back when an answer is through."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keep: Callable[[Backend], None] | None = None

    @property
    def is_open(self) -> bool:
        return not self.writer.is_closing() and not self.reader.at_eof()

    def close(self) -> None:
        self.writer.close()


@dataclass(slots=True)
class Head:
    status: int
    headers: list[tuple[str, str]]
    is_last: bool = False  # of its connection

    def get(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")


class NodeConnections:
    """`tls` holds the server's client certificate for nodes and the CA that signs theirs.

    `nearby`: by name, how to reach the nodes that live in this process and listen on no address.
    """

    def __init__(
        self, reader: Reader, tls: ssl.SSLContext | None, nearby: Mapping[str, Dial] | None = None
    ) -> None:
        self._reader = reader
        self._tls = tls
        self._nearby = {} if nearby is None else nearby

    def address_of(self, name: str) -> tuple[str, int]:
        node = self._reader.get("nodes", "", name)
        if node is None:
            raise errors.not_found("nodes", name)
        status = node.get("status") or {}
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        return preferred_address(status.get("addresses") or ()), endpoint.get("Port") or KUBELET_PORT

    async def connect(self, node: str) -> Backend:
        host, port = self.address_of(node)
        dial = self._nearby.get(node)
        if dial is None:
            return await connect(host, port, self._tls)
        try:
            return Backend(*await dial())
        except OSError as e:
            raise Unreachable(f"dial tcp {host}:{port}: connect: connection refused") from e


def preferred_address(addresses: Sequence[Object]) -> str:
    for kind in PREFERRED:
        for address in addresses:
            if address.get("type") == kind:
                found: str = address["address"]
                return found
    known = " ".join(f"{{{a.get('type', '')} {a.get('address', '')}}}" for a in addresses)
    raise errors.StatusError(f"no preferred addresses found; known addresses: [{known}]")


async def connect(host: str, port: int, tls: ssl.SSLContext | None) -> Backend:
    shown = f"[{host}]" if ":" in host else host
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=_MOST_HEAD)
    except TimeoutError as e:
        raise Unreachable(f"dial tcp {shown}:{port}: i/o timeout") from e
    except ssl.SSLError as e:
        raise Unreachable(f"tls: {getattr(e, 'verify_message', '') or e.reason or e}") from e
    except OSError as e:
        reason = "connection refused" if isinstance(e, ConnectionRefusedError) else (e.strerror or str(e))
        raise Unreachable(f"dial tcp {shown}:{port}: connect: {reason}") from e
    return Backend(reader, writer)


async def send(backend: Backend, method: str, target: str, headers: Headers, body: bytes = b"") -> Head:
    """Write a request and read the head of its answer; informational answers are skipped, but not 101."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    try:
        backend.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await backend.writer.drain()
        while True:
            head = _parse(await backend.reader.readuntil(b"\r\n\r\n"))
            if head.status >= 200 or head.status == 101:
                return head
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as e:
        raise Unreachable("the connection was lost before an answer came") from e


def _parse(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = []
    for line in lines:
        if line:
            key, _, value = line.partition(":")
            headers.append((key.strip(), value.strip()))
    protocol, _, rest = first.partition(" ")
    status = int(rest.partition(" ")[0])
    if not protocol.startswith("HTTP/1.") or not 100 <= status <= 999:
        raise ValueError("no answer of HTTP/1.1")
    head = Head(status, headers)
    head.is_last = protocol == "HTTP/1.0" or "close" in head.get("connection").lower()
    return head


async def body_of(backend: Backend, head: Head) -> AsyncIterator[bytes]:
    """The body of an answer as it comes; at its end the connection is given back or closed."""
    is_whole = False
    try:
        if head.status in (204, 304):
            is_whole = True
        elif "chunked" in head.get("transfer-encoding").lower():
            async for chunk in _chunks(backend.reader):
                if chunk:
                    yield chunk
                else:
                    is_whole = True
        elif head.get("content-length"):
            left = _length(head.get("content-length"), 10)
            while left > 0 and (data := await backend.reader.read(min(left, CHUNK))):
                left -= len(data)
                yield data
            is_whole = left == 0
        else:
            while data := await backend.reader.read(CHUNK):
                yield data
    finally:
        done_with(backend, head, is_whole=is_whole)


def done_with(backend: Backend, head: Head, *, is_whole: bool) -> None:
    """An answer has been read, or will not be."""
    if is_whole and not head.is_last and backend.keep is not None:
        backend.keep(backend)
    else:
        backend.close()


def _length(text: str, base: int) -> int:
    """Whatever listens in a pod may say anything."""
    if not text.isascii() or not text.isalnum() or len(text) > 18:
        raise ConnectionResetError("an answer of unknown length")
    try:
        return int(text, base)
    except ValueError as e:
        raise ConnectionResetError("an answer of unknown length") from e


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """An empty one is the end; without it the answer was cut off."""
    while True:
        line = await reader.readline()
        size = _length(line.split(b";")[0].strip().decode("latin-1") or "0", 16)
        if size == 0:
            while line.strip():  # what follows, up to an empty line, are trailers
                line = await reader.readline()
            if line:
                yield b""
            return
        left = size
        while left > 0:
            data = await reader.read(min(left, CHUNK))
            if not data:
                return
            left -= len(data)
            yield data
        await reader.readline()


def refused(node: str, e: Unreachable) -> errors.StatusError:
    return errors.StatusError(f"error dialing backend of node {quote(node)}: {e}")

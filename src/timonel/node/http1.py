"""The little of HTTP/1.1 that the agent needs as a client: GET for probes and hooks, and message heads.

No cookies, no proxies, no redirects.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable

from timonel.records import dataclass

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 10 * 1024


class BadAnswer(Exception):
    """What came back was not HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str:
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), "")


def parse_head(head: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """First line and headers of a head that ends in an empty line."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first, tuple((name.strip(), value.strip()) for name, _, value in pairs)


async def read_answer_head(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
        raise BadAnswer("EOF") from e
    first, headers = parse_head(head)
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise BadAnswer(f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{first}"')
    return Answer(int(words[1]), words[2] if len(words) > 2 else "", headers)


async def get(
    host: str,
    port: int,
    path: str,
    *,
    tls: bool = False,
    headers: Iterable[tuple[str, str]] = (),
) -> Answer:
    """One GET on a connection of its own; certificates are not checked (as kubelet's probes). OSError on failure."""
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=HEAD_LIMIT)
    try:
        bracketed = f"[{host}]" if ":" in host else host
        lines = {"host": f"Host: {bracketed}:{port}", "connection": "Connection: close"}
        for name, value in headers:
            lines[name.lower()] = f"{name}: {value}"
        request = "\r\n".join([f"GET {path or '/'} HTTP/1.1", *lines.values(), "", ""])
        writer.write(request.encode("latin-1"))
        await writer.drain()
        answer = await read_answer_head(reader)
        length = answer.header("content-length")
        wanted = min(int(length), BODY_LIMIT) if length.isdigit() else BODY_LIMIT
        body = b""
        while len(body) < wanted:
            part = await reader.read(wanted - len(body))
            if not part:
                break
            body += part
        return Answer(answer.status, answer.reason, answer.headers, body)
    finally:
        writer.close()

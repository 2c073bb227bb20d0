"""Byte-for-byte relay between a client and a server behind this one, after an HTTP upgrade (SPDY/3.1, WebSocket).

Upstream: apiserver/pkg/util/proxy/upgradeaware.go.
"""

from __future__ import annotations

import asyncio

from timonel.server.request import Answer, ConnectCall, Duplex, Upgraded
from timonel.server.subresources.nodes import CHUNK, Backend, Headers, body_of, done_with, send

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
    )
)
_OURS = frozenset(("authorization", "host", "content-length", "upgrade"))


def is_upgrade(call: ConnectCall) -> bool:
    return bool(call.header("upgrade")) and "upgrade" in call.header("connection").lower()


def forwarded(call: ConnectCall, host: str, *, upgrade: bool, keep: bool = False) -> Headers:
    """The client's headers as the backend gets them: never its credentials. `keep`: there will be other requests."""
    kept = [
        (key, value)
        for key, value in call.headers
        if key.lower() not in _HOP_BY_HOP
        and key.lower() not in _OURS
        and not key.lower().startswith("impersonate-")
        and not (key.lower() == "sec-websocket-protocol" and _is_token(value))
    ]
    protocols = [v for k, v in call.headers if k.lower() == "sec-websocket-protocol" and _is_token(v)]
    for value in protocols:
        others = [p.strip() for p in value.split(",") if not p.strip().startswith(_TOKEN_PROTOCOL)]
        if others:
            kept.append(("Sec-WebSocket-Protocol", ", ".join(others)))
    head = [("Host", host)]
    if upgrade:
        head += [("Connection", "Upgrade"), ("Upgrade", call.header("upgrade"))]
    elif not keep:
        head.append(("Connection", "close"))
    return [*head, *kept]


_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


def _is_token(value: str) -> bool:
    return _TOKEN_PROTOCOL in value


async def exchange(call: ConnectCall, backend: Backend, target: str, host: str) -> Answer | Upgraded:
    """Send the client's request to `backend` and answer what it answers, as a stream or as an open line.

    Takes over the connection: whoever consumes the answer closes it, or gives it back.
    """
    upgrade = is_upgrade(call)
    try:
        headers = forwarded(call, host, upgrade=upgrade, keep=backend.keep is not None)
        head = await send(backend, call.method, target, headers, call.body)
    except BaseException:
        backend.close()
        raise
    if head.status == 101:
        return Upgraded(101, head.headers, lambda client: _relay(client, backend))
    kept = [(k, v) for k, v in head.headers if k.lower() not in _HOP_BY_HOP]
    if call.method == "HEAD":
        done_with(backend, head, is_whole=True)
        return Answer(head.status, kept)
    # A small body goes on whole: clients that asked for an upgrade read no chunks, and would miss why they got none.
    # Others go on in chunks as they come, which rules out a length beside it.
    length = head.get("content-length")
    kept = [(k, v) for k, v in kept if k.lower() != "content-length"]
    body = body_of(backend, head)
    if length.isdecimal() and len(length) < 10 and int(length) <= CHUNK:
        return Answer(head.status, kept, b"".join([part async for part in body]))
    return Answer(head.status, kept, body)


async def _relay(client: Duplex, backend: Backend) -> None:
    """Until the backend ends, or the client does: then nobody is left to talk to."""
    try:
        async with asyncio.TaskGroup() as group:
            up = group.create_task(_upstream(client, backend))
            down = group.create_task(_downstream(client, backend))
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            down.cancel()
    finally:
        backend.close()


async def _upstream(client: Duplex, backend: Backend) -> None:
    try:
        while data := await client.read():
            backend.writer.write(data)
            await backend.writer.drain()
    except OSError:
        return  # one end is gone: so is the conversation


async def _downstream(client: Duplex, backend: Backend) -> None:
    try:
        while data := await backend.reader.read(CHUNK):
            await client.write(data)
        await client.write_eof()
    except OSError:
        return

"""Large lists under flow control: they hold their seats until they have gone out, and leave room for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.server.flowcontrol.test_server import allow_bob, narrow, serving, until
from tests.server.starting import send
from timonel.server.app import ApiServer
from timonel.server.flowcontrol import Settings as FlowSettings
from timonel.server.flowcontrol.levels import Level

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"
OBJECTS, SIZE = 32, 512 * 1024  # more than any buffer between the server and a client that does not read
QUEUE: dict[str, Any] = {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 1}}
PLAIN = "application/json"
AS_PROTOBUF = "application/vnd.kubernetes.protobuf"


@asynccontextmanager
async def with_much(response: dict[str, Any], **config: Any) -> AsyncIterator[tuple[ApiServer, Level]]:
    """A server with ConfigMaps of 16 MiB, and the level that bob's requests belong to."""
    async with serving(flow=FlowSettings(max_inflight=150, max_mutating=50), **config) as server:
        await allow_bob(server)
        for number in range(OBJECTS):
            made = {"metadata": {"name": f"big-{number}"}, "data": {"text": "x" * SIZE}}
            assert (await send(server, "POST", MAPS, made)).status == 201
        await narrow(server, response)
        await send(server, "GET", f"{MAPS}/none", token="bobs")
        assert server.gate.flows is not None
        yield server, server.gate.flows.levels["narrow"]


async def ask(server: ApiServer, accept: str = PLAIN) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A list, of which only what the buffers take is read until somebody reads it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    head = f"Host: x\r\nAuthorization: Bearer bobs\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    writer.write(f"GET {MAPS} HTTP/1.1\r\n{head}".encode())
    await reader.readuntil(b"\r\n")
    return reader, writer


@pytest.mark.parametrize("accept", [PLAIN, AS_PROTOBUF])
async def test_a_list_holds_its_seats_while_its_client_does_not_read_and_others_are_refused(
    accept: str,
) -> None:
    async with with_much({"type": "Reject"}) as (server, level):
        reader, writer = await ask(server, accept)
        held = level.executing, level.in_use
        refused = await send(server, "GET", MAPS, token="bobs")
        allowed = await send(server, "GET", f"{MAPS}/none")
        page = (await send(server, "GET", "/metrics")).body
        while await reader.read(1 << 20):
            pass
        await until(lambda: level.at_rest)
        again = await send(server, "GET", MAPS, token="bobs")
        writer.close()

        assert held[0] == 1
        assert held[1] >= 1
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert (allowed.status, again.status) == (404, 200)
        rejected = 'rejected_requests_total{flow_schema="narrow",priority_level="narrow",reason="concurrency-limit"} 1'
        assert f"apiserver_flowcontrol_{rejected}" in page


@pytest.mark.parametrize("accept", [PLAIN, AS_PROTOBUF])
async def test_a_client_that_goes_away_gives_its_seats_to_the_next(accept: str) -> None:
    async with with_much(QUEUE) as (server, level):
        _, gone = await ask(server, accept)
        next_one = asyncio.ensure_future(send(server, "GET", MAPS, token="bobs"))
        await until(lambda: level.waiting == 1)
        refused = await send(server, "GET", MAPS, token="bobs")
        gone.transport.abort()

        assert (await next_one).status == 200
        assert refused.status == 429
        await until(lambda: level.at_rest)


async def test_a_client_that_does_not_read_is_cut_off_and_its_seats_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("timonel.server.http.STALL", 0.2)
    async with with_much({"type": "Reject"}) as (server, level):
        _, writer = await ask(server)
        assert level.executing == 1

        await until(lambda: level.at_rest)
        writer.close()


async def test_who_reads_slowly_keeps_its_seats_no_longer_than_a_request_may_take() -> None:
    async with with_much({"type": "Reject"}, request_timeout=1.0) as (server, level):
        reader, writer = await ask(server)
        assert level.executing == 1

        await until(lambda: level.at_rest)
        size = 0
        while piece := await reader.read(1 << 20):
            size += len(piece)
        writer.close()
        assert size > OBJECTS * SIZE

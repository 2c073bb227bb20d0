"""Requests over real connections: framing, order, limits, streams."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.server.starting import send, started
from timonel.server.exchange import BODY_LIMIT

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"
HEAD = b"Host: x\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\n"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with started() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps({"metadata": {"name": "a"}}).encode()
        post = b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (MAPS.encode(), HEAD, len(body), body)
        get = b"GET %b/a HTTP/1.1\r\n%b\r\n" % (MAPS.encode(), HEAD)
        last = b"GET /healthz HTTP/1.1\r\n%bConnection: close\r\n\r\n" % HEAD
        writer.write(post + get + last)
        text = await reader.read()
        writer.close()

        assert re.findall(rb"HTTP/1.1 (\d+) ", text) == [b"201", b"200", b"200"]
        assert text.endswith(b"ok")


async def test_a_chunked_body_is_read() -> None:
    async with started() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            % (MAPS.encode(), HEAD)
        )
        for part in (b'{"metadata":', b'{"name":"a"}}'):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        writer.write(b"0\r\n\r\n")
        text = await reader.read()
        writer.close()

        assert text.startswith(b"HTTP/1.1 201 ")


async def test_a_client_that_waits_for_100_gets_it() -> None:
    async with started() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST %b HTTP/1.1\r\n%bExpect: 100-continue\r\nContent-Length: 24\r\nConnection: close\r\n\r\n"
            % (MAPS.encode(), HEAD)
        )
        interim = await reader.readuntil(b"\r\n\r\n")
        writer.write(b'{"metadata":{"name":"a"}')
        text = await reader.read()
        writer.close()

        assert interim.startswith(b"HTTP/1.1 100 ")
        assert text.startswith(b"HTTP/1.1 400 ")  # the body lacks its last brace


async def test_a_body_over_the_limit_is_refused_and_nothing_is_stored() -> None:
    async with started() as server:
        big = {"metadata": {"name": "big"}, "data": {"k": "x" * BODY_LIMIT}}

        refused = await send(server, "POST", MAPS, big)
        found = await send(server, "GET", f"{MAPS}/big")

        assert (refused.status, refused.body["reason"]) == (413, "RequestEntityTooLarge")
        assert found.status == 404


async def test_what_is_no_http_gets_400() -> None:
    async with started() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        text = await reader.read()
        writer.close()

        assert text.startswith(b"HTTP/1.1 400 ")


async def test_a_watch_streams_what_happens() -> None:
    async with started() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET %b?watch=true HTTP/1.1\r\n%b\r\n" % (MAPS.encode(), HEAD))
        await reader.readuntil(b"\r\n\r\n")
        await send(server, "POST", MAPS, {"metadata": {"name": "a"}})
        size = int(await reader.readline(), 16)
        event = json.loads(await reader.readexactly(size))
        writer.close()

        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")


async def test_a_wrong_token_is_unauthorized() -> None:
    async with started() as server:
        answer = await send(server, "GET", MAPS, token="wrong")

        assert (answer.status, answer.body["message"]) == (401, "Unauthorized")


async def test_a_stranger_is_forbidden_in_upstreams_words() -> None:
    async with started() as server:
        answer = await send(server, "GET", MAPS, token="bobs")

        assert answer.status == 403
        assert answer.body["message"] == (
            'configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" '
            'in the namespace "default"'
        )


async def test_several_servers_live_in_one_process() -> None:
    async with started() as one, started() as two:
        await send(one, "POST", MAPS, {"metadata": {"name": "a"}})

        assert (await send(one, "GET", f"{MAPS}/a")).status == 200
        assert (await send(two, "GET", f"{MAPS}/a")).status == 404

"""What a client may cost: time for its requests, memory for its answers, room for its heads."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from tests.server.starting import send, server, started
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running
from timonel.server import http
from timonel.server.app import ApiServer
from timonel.server.http import GOODBYE, HEAD_LIMIT, IDLE_LOOKS, LOOK, STALL
from timonel.server.request import ConnectCall, Duplex, Upgraded

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"
HEAD = b"Host: x\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\n%b\r\n" % HEAD


class ByHand(VirtualClock):
    """Its timers go when the test says so; who sleeps, sleeps really."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def dial(to: ApiServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", to.port)


async def deaf(to: ApiServer) -> socket.socket:
    """A client that sends and reads nothing."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.setblocking(False)
    await asyncio.get_running_loop().sock_connect(found, ("127.0.0.1", to.port))
    return found


async def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    clock = ByHand()
    async with started(clock=clock) as to:
        idle, idle_writer = await dial(to)
        used, used_writer = await dial(to)
        for _ in range(IDLE_LOOKS + 1):
            used_writer.write(GET)
            assert (await used.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            await clock.advance(LOOK + 1)

        assert await asyncio.wait_for(idle.read(), 5) == b""
        used_writer.write(GET)
        assert (await used.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        idle_writer.close()
        used_writer.close()


BODY_MISSING = b"POST %b HTTP/1.1\r\n%bContent-Length: 9\r\n\r\n{" % (MAPS.encode(), HEAD)


@pytest.mark.parametrize(
    "part",
    [b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nX-A: b", BODY_MISSING],
    ids=["line", "head", "body"],
)
async def test_a_request_that_never_comes_to_its_end_is_given_up(part: bytes) -> None:
    clock = ByHand()
    async with started(clock=clock) as to:
        reader, writer = await dial(to)
        writer.write(part)
        await asyncio.sleep(0.05)
        await clock.advance(LOOK * 3 + 1)

        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_quiet_watch_is_not_taken_for_idle() -> None:
    clock = ByHand()
    async with started(clock=clock) as to:
        reader, writer = await dial(to)
        writer.write(b"GET %b?watch=1&resourceVersion=0 HTTP/1.1\r\n%b\r\n" % (MAPS.encode(), HEAD))
        await reader.readuntil(b"\r\n\r\n")
        await clock.advance(LOOK * 6)
        await send(to, "POST", MAPS, {"metadata": {"name": "late"}})

        async with asyncio.timeout(5):
            assert b'"name":"late"' in await reader.readuntil(b'"late"')
        writer.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"GET /" + b"a" * (HEAD_LIMIT + 1), 414),
     (b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * (HEAD_LIMIT + 300_000), 431),
     (b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * (HEAD_LIMIT // 64), 431)],
    ids=["target", "one header", "many headers"],
)  # fmt: skip
async def test_a_head_over_the_limit_is_refused_before_its_end(head: bytes, status: int) -> None:
    async with started() as to:
        reader, writer = await dial(to)
        writer.write(head)
        text = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert text.startswith(b"HTTP/1.1 %d " % status)


async def test_a_long_head_behind_another_request_loses_no_header_but_is_refused() -> None:
    async with started() as to:
        reader, writer = await dial(to)
        watch = b"GET %b?watch=1 HTTP/1.1\r\n%b\r\n" % (MAPS.encode(), HEAD)
        padding = b"X-A: " + b"a" * HEAD_LIMIT + b"\r\n"
        impersonated = b"POST %b HTTP/1.1\r\n%b%bImpersonate-User: bob\r\nContent-Length: 25\r\n\r\n" % (
            MAPS.encode(), HEAD, padding,
        )  # fmt: skip
        writer.write(watch + impersonated + b'{"metadata":{"name":"a"}}')
        await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert (await send(to, "GET", f"{MAPS}/a")).status == 404


async def test_what_follows_a_chunked_body_is_no_header() -> None:
    async with started() as to:
        reader, writer = await dial(to)
        body = b'{"metadata":{"name":"a"}}'
        head = (
            b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            % MAPS.encode()
        )
        writer.write(head + b"%x\r\n%b\r\n0\r\nAuthorization: Bearer secret\r\n\r\n" % (len(body), body))
        text = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert text.startswith(b"HTTP/1.1 403 ")


async def test_who_reads_no_answers_gets_no_more_of_them() -> None:
    to = server()
    async with running(to):
        await send(to, "POST", MAPS, {"metadata": {"name": "big"}, "data": {"k": "x" * 1_000_000}})
        mute = await deaf(to)
        asked = asyncio.create_task(
            asyncio.get_running_loop().sock_sendall(
                mute, b"GET %b/big HTTP/1.1\r\n%b\r\n" % (MAPS.encode(), HEAD) * 2_000
            )
        )
        await asyncio.sleep(0.3)
        connection = next(iter(_connections(to)))
        held = connection._transport.get_write_buffer_size()
        asked.cancel()
        mute.close()

        assert held < 4_000_000
        assert (await send(to, "GET", "/healthz")).status == 200


async def test_a_watcher_that_reads_nothing_is_cut_off() -> None:
    clock = ByHand()
    to = server(clock=clock)
    async with running(to):
        mute = await deaf(to)
        watch = b"GET %b?watch=1 HTTP/1.1\r\n%b\r\n" % (MAPS.encode(), HEAD)
        await asyncio.get_running_loop().sock_sendall(mute, watch)
        await asyncio.sleep(0.05)
        for number in range(8):
            await send(to, "POST", MAPS, {"metadata": {"name": f"m{number}"}, "data": {"k": "x" * 900_000}})
        assert _watchers(to) == 1
        await clock.advance(STALL * 2 + 1)
        await asyncio.sleep(0.05)

        assert _watchers(to) == 0
        mute.close()


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    clock = ByHand()
    to = server(clock=clock)
    async with running(to):
        data = {"k": "x" * 1_000_000}
        for number in range(6):
            await send(to, "POST", MAPS, {"metadata": {"name": f"m{number}"}, "data": data})
        slow = await deaf(to)
        loop = asyncio.get_running_loop()
        ask = b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (MAPS.encode(), HEAD)
        await loop.sock_sendall(slow, ask)
        text, waited = b"", 0
        while part := await loop.sock_recv(slow, 400_000):
            text += part
            if len(text) > (waited + 1) * 1_000_000:
                waited += 1
                await asyncio.sleep(0.01)  # what was read makes room for more of what the server holds
                await clock.advance(STALL * 0.3)
        slow.close()

        assert len(json.loads(text.partition(b"\r\n\r\n")[2])["items"]) == 6


async def test_header_bytes_that_are_no_text_are_refused_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with started() as to:
        reader, writer = await dial(to)
        extra = b"Impersonate-User: a\r\nImpersonate-Extra-x: \xff\r\nConnection: close\r\n"
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (MAPS.encode(), extra))
        text = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert text.startswith(b"HTTP/1.1 403 ")
        assert not caplog.records


class Stuck:
    """Behind it is somebody who neither reads nor ends."""

    def __init__(self) -> None:
        self.is_open = False

    async def connect(self, call: ConnectCall) -> Upgraded:
        return Upgraded(101, [("Upgrade", "x")], self._relay)

    async def _relay(self, client: Duplex) -> None:
        self.is_open = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_open = False


async def test_a_relay_whose_client_is_gone_ends_even_if_the_other_side_does_not() -> None:
    clock = ByHand()
    to = server(clock=clock)
    stuck = Stuck()
    to.registry.by_qualified["pods"].connects["exec"] = stuck
    async with running(to):
        reader, writer = await dial(to)
        target = b"GET /api/v1/namespaces/default/pods/p/exec HTTP/1.1\r\n"
        writer.write(target + HEAD + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await clock.advance(STALL * 3)
        assert stuck.is_open
        reset = struct.pack("ii", 1, 0)  # gone, and not merely silent
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert stuck.is_open
        await clock.advance(GOODBYE + 1)

        assert not stuck.is_open


def _connections(to: ApiServer) -> set[http.Connection]:
    import gc

    return {found for found in gc.get_objects() if isinstance(found, http.Connection) and not found._lost}


def _watchers(to: ApiServer) -> int:
    return len(to.registry.by_qualified["configmaps"].cache.watchers)

"""The door: TLS, who speaks something else to it, who does not speak at all, and how many may come in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.server.starting import ADMIN, SCHEME
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.distro import pki
from timonel.server import httpserver, listening
from timonel.server.app import ApiServer
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.listening import bound
from timonel.server.security import Settings as SecuritySettings
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"
PLAIN = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


@asynccontextmanager
async def secured(folder: Path) -> AsyncIterator[tuple[ApiServer, ssl.SSLContext]]:
    clock = SystemClock()
    authority = pki.Authority(folder, now=clock.now())
    files = authority.server("server", user="kube-apiserver", hosts=("127.0.0.1", "localhost"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    security = SecuritySettings(keys=jwt.Keys(jwt.new_key()), static_tokens={"secret": ADMIN})
    made = compose(Settings(security), store=MemoryStore(), scheme=SCHEME, clock=clock, tls=context)
    client = ssl.create_default_context(cafile=str(authority.certificate_file))
    async with running(made):
        yield made, client


async def asked(server: ApiServer, client: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client)
    writer.write(GET)
    text = await asyncio.wait_for(reader.readuntil(b"ok"), 5)
    writer.close()
    return text


async def test_plain_http_to_the_tls_port_is_told_so(tmp_path: Path) -> None:
    async with secured(tmp_path) as (server, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        text = await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert text == PLAIN
        assert (await asked(server, client)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "first", [b"\x00\x01garbage", b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x00\x02", b""]
)
async def test_what_is_neither_is_hung_up_on(tmp_path: Path, first: bytes) -> None:
    async with secured(tmp_path) as (server, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(first)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()

        assert (await asked(server, client)).startswith(b"HTTP/1.1 200 ")


async def test_those_who_say_nothing_are_bounded_and_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MOST_UNBEGUN", 20)
    async with secured(tmp_path) as (server, client):
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(30)]
        assert (await asked(server, client)).startswith(b"HTTP/1.1 200 ")
        closed = [await asyncio.wait_for(reader.read(), 5) for reader, _ in silent[:10]]
        for _, writer in silent:
            writer.close()

        assert closed == [b""] * 10


async def test_who_does_not_begin_with_tls_is_cut_off_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE", 0.2)
    async with secured(tmp_path) as (server, _):
        silent, writer = await asyncio.open_connection("127.0.0.1", server.port)
        slow, slow_writer = await asyncio.open_connection("127.0.0.1", server.port)
        slow_writer.write(b"\x16\x03\x01")

        assert await asyncio.wait_for(silent.read(), 5) == b""
        assert await asyncio.wait_for(slow.read(), 5) == b""
        writer.close()
        slow_writer.close()


async def test_an_idle_connection_makes_room_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpserver, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(httpserver.HttpServer, "__init__", _with_most(httpserver.HttpServer.__init__, 3))
    async with secured(tmp_path) as (server, client):
        idle = []
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client)
            writer.write(GET)
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 5)).startswith(b"HTTP/1.1 200 ")
            idle.append((reader, writer))
        ended = [await asyncio.wait_for(reader.read(), 5) for reader, _ in idle[:3]]
        for _, writer in idle:
            writer.close()

        assert ended == [b""] * 3


def _with_most(init: object, most: int) -> object:
    def made(self: object, *args: object, **more: object) -> None:
        init(self, *args, **{**more, "most": most})  # type: ignore[operator]

    return made


def test_all_hosts_listen_on_the_same_port() -> None:
    sockets = bound(("127.0.0.1", "127.0.0.2"), 0)
    ports = {each.getsockname()[1] for each in sockets}
    for each in sockets:
        each.close()

    assert len(ports) == 1

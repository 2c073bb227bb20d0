"""Streams from nodes: what is asked of the node, what the client gets, and what it is told when nobody answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.server.fakes import ALICE, FakeReader, pod
from timonel.machinery import errors
from timonel.server.request import Answer, ConnectCall, Upgraded
from timonel.server.subresources import streams
from timonel.server.subresources.streams import container_of, split_target

pytestmark = pytest.mark.looptime(False)  # real sockets


class Node:
    """Answers every request with `answer`; after a 101, echoes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.answer)
        if self.answer.startswith(b"HTTP/1.1 101"):
            while data := await reader.read(100):
                writer.write(data.upper())
        writer.close()
        await writer.wait_closed()
        self.ended.set()


@asynccontextmanager
async def node(answer: bytes, reader: FakeReader) -> AsyncIterator[Node]:
    found = Node(answer)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    put_node(reader, port)
    try:
        yield found
        await found.ended.wait()
    finally:
        server.close()
        await server.wait_closed()


def put_node(reader: FakeReader, port: int) -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    reader.put("nodes", {"metadata": {"name": "n"}, "status": status})
    reader.put("pods", pod(nodeName="n"))


def call(subresource: str, query: str = "", *headers: tuple[str, str], name: str = "p") -> ConnectCall:
    return ConnectCall(ALICE, "GET", "shop", name, subresource, "", query, headers)


async def connect(reader: FakeReader, asked: ConnectCall, resource: str = "pods") -> Answer | Upgraded:
    return await streams.built_in(reader, None)[resource, asked.subresource].connect(asked)


async def text_of(answer: Answer | Upgraded) -> bytes:
    assert isinstance(answer, Answer)
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([part async for part in answer.body])


async def test_a_log_is_asked_of_the_node_and_streamed() -> None:
    reader = FakeReader()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = head + b"3\r\none\r\n4\r\n two\r\n0\r\n\r\n"
    async with node(body, reader) as found:
        answer = await connect(reader, call("log", "tailLines=5&follow=true&container=c"))

        assert await text_of(answer) == b"one two"
    assert found.heads[0].startswith("GET /containerLogs/shop/p/c?follow=true&tailLines=5 HTTP/1.1\r\n")


async def test_a_small_body_goes_on_whole() -> None:
    reader = FakeReader()
    async with node(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Own: yes\r\n\r\nok", reader):
        answer = await connect(reader, call("log"))

    assert isinstance(answer, Answer)
    assert (answer.headers, answer.body) == ([("X-Own", "yes")], b"ok")


async def test_a_large_body_goes_on_in_chunks_without_a_length() -> None:
    reader, body = FakeReader(), b"x" * 100_000
    async with node(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + body, reader):
        answer = await connect(reader, call("log"))

        assert await text_of(answer) == body
    assert isinstance(answer, Answer)
    assert answer.headers == []
    assert not isinstance(answer.body, bytes)


@pytest.mark.parametrize(
    "answer",
    ["Content-Length: ²\r\n\r\nok", "Content-Length: -5\r\n\r\nok", "Transfer-Encoding: chunked\r\n\r\nzz\r\nok",
     "Transfer-Encoding: chunked\r\n\r\n-2\r\nok", "Content-Length: 99999999999999999999\r\n\r\nok"],
)  # fmt: skip
async def test_an_answer_of_unknown_length_is_a_broken_connection(answer: str) -> None:
    reader = FakeReader()
    async with node(f"HTTP/1.1 200 OK\r\n{answer}".encode("latin-1"), reader):
        found = await connect(reader, call("log"))

        with pytest.raises(ConnectionResetError):
            await text_of(found)


async def test_credentials_never_reach_the_node() -> None:
    reader = FakeReader()
    async with node(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", reader) as found:
        headers = (("Authorization", "Bearer secret"), ("Impersonate-User", "bob"), ("X-Own", "yes"))
        await text_of(await connect(reader, call("log", "", *headers)))

    assert "secret" not in found.heads[0]
    assert "bob" not in found.heads[0]
    assert "X-Own: yes" in found.heads[0]


class Client:
    """The client's end of a relayed connection."""

    def __init__(self, *sent: bytes) -> None:
        self.sent = list(sent)
        self.got: list[bytes] = []
        self.enough = asyncio.Event()

    async def read(self) -> bytes:
        if self.sent:
            return self.sent.pop(0)
        await self.enough.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.got.append(data)
        self.enough.set()

    async def write_eof(self) -> None:
        self.enough.set()


async def test_an_upgrade_is_relayed_byte_for_byte() -> None:
    reader, client = FakeReader(), Client(b"abc")
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
    async with node(head, reader) as found:
        upgrade = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"))
        answer = await connect(reader, call("exec", "command=ls&command=-l&stdout=true&tty=true", *upgrade))
        assert isinstance(answer, Upgraded)
        await answer.relay(client)

    assert (answer.status, b"".join(client.got)) == (101, b"ABC")
    assert found.heads[0].startswith("GET /exec/shop/p/c?output=1&tty=1&command=ls&command=-l HTTP/1.1")


async def test_a_node_that_cannot_be_reached_is_named() -> None:
    reader = FakeReader()
    put_node(reader, 1)

    with pytest.raises(errors.StatusError) as error:
        await connect(reader, call("log"))

    where = "127.0.0.1:1"
    expected = f'Get "https://{where}/containerLogs/shop/p/c": dial tcp {where}: connect: connection refused'
    assert error.value.message == expected


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        ("400 Bad Request", "BadRequest", "it waits"),
        ("404 Not Found", "NotFound", "the server could not find the requested resource ( pods/log p)"),
        ("500 Internal Server Error", "InternalError", "Internal error occurred: it waits"),
    ],
)
async def test_what_a_node_refuses_has_a_reason(status: str, reason: str, message: str) -> None:
    reader = FakeReader()
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 8\r\n\r\nit waits".encode()
    async with node(refusal, reader):
        with pytest.raises(errors.StatusError) as error:
            await connect(reader, call("log"))

    assert (error.value.reason, error.value.message) == (reason, message)


async def test_a_node_of_this_process_is_asked_without_a_port() -> None:
    reader, found = FakeReader(), Node(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    put_node(reader, 1)

    async with asyncio.TaskGroup() as group:

        async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            ours, theirs = socket.socketpair()
            group.create_task(found.serve(*await asyncio.open_unix_connection(sock=theirs)))
            return await asyncio.open_unix_connection(sock=ours)

        handlers = streams.built_in(reader, None, nearby={"n": dial})
        log = await text_of(await handlers["pods", "log"].connect(call("log")))
        health = await text_of(await handlers["nodes", "proxy"].connect(call("proxy", name="n")))

    assert (log, health) == (b"ok", b"ok")


async def test_a_pod_without_a_node_has_no_log_yet() -> None:
    reader = FakeReader()
    reader.put("pods", pod())

    assert await text_of(await connect(reader, call("log"))) == b""


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("stream=Both", 'Unsupported value: "Both"'),
        ("container=x", "container x is not valid for pod p"),
    ],
)
async def test_log_options_that_are_refused(query: str, message: str) -> None:
    reader = FakeReader()
    put_node(reader, 1)

    with pytest.raises(errors.StatusError) as error:
        await connect(reader, call("log", query))

    assert message in error.value.message


def test_one_of_several_containers_must_be_named() -> None:
    several: list[dict[str, Any]] = [{"name": "a"}, {"name": "b"}]

    with pytest.raises(errors.BadRequest) as error:
        container_of(pod(containers=several, initContainers=[{"name": "i"}]), "")

    choice = "choose one of: [a b] or one of the init containers: [i]"
    assert error.value.message == f"a container name must be specified for pod p, {choice}"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("web", ("http", "web", "")),
        ("web:80", ("http", "web", "80")),
        ("https:web:https", ("https", "web", "https")),
    ],
)
def test_what_a_proxied_name_means(name: str, parts: tuple[str, str, str]) -> None:
    assert split_target(name) == parts


async def test_a_node_without_address() -> None:
    reader = FakeReader()
    reader.put("nodes", {"metadata": {"name": "n"}})

    with pytest.raises(errors.StatusError, match=r"no preferred addresses found; known addresses: \[\]"):
        await connect(reader, call("proxy", name="n"), "nodes")


async def test_a_service_without_endpoints() -> None:
    reader = FakeReader()
    metadata = {"name": "web", "namespace": "shop"}
    reader.put("services", {"metadata": metadata, "spec": {"ports": [{"port": 80}]}})

    with pytest.raises(errors.ServiceUnavailable, match='no endpoints available for service "web"'):
        await connect(reader, call("proxy", name="web"), "services")

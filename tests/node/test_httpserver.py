"""What strangers may send to the agent: whatever it is, it costs no log line and no connection for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from timonel.node import httpserver
from timonel.node.httpserver import BODY_LIMIT, HandOver, Peer, Request, Response, parse_request

pytestmark = pytest.mark.looptime(False)


class Closed:
    """As the guard answers strangers."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def handle(self, request: Request) -> Response | HandOver:
        self.paths.append(request.path)
        return Response(401, b"Unauthorized")


@asynccontextmanager
async def listening(handler: Closed) -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(httpserver.serve_connection(reader, writer, handler))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


async def sent(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "text",
    [b"GET //[ HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n"],
)
async def test_what_is_no_request_is_refused_without_a_word_in_the_log(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(Closed()) as port:
        assert (await sent(port, text)).startswith(b"HTTP/1.1 400 ")

    assert not caplog.records


@pytest.mark.parametrize(
    "header",
    ["Content-Length: ²", "Content-Length: -1", "Content-Length: 1e3", f"Content-Length: {BODY_LIMIT + 1}",
     "Transfer-Encoding: chunked", "Content-Length: " + "9" * 5000],
)  # fmt: skip
async def test_a_body_of_unknown_end_is_never_read_as_the_next_request(
    header: str, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Closed()
    async with listening(handler) as port:
        first = f"POST /first HTTP/1.1\r\n{header}\r\n\r\n".encode("latin-1")
        answer = await sent(port, first + b"GET /smuggled HTTP/1.1\r\n\r\n")

    assert answer.count(b"HTTP/1.1 401 ") == 1
    assert handler.paths == ["/first"]
    assert not caplog.records


async def test_who_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpserver, "PATIENCE", 0.05)  # real sockets know no virtual time
    async with listening(Closed()) as port:
        assert await sent(port, b"GET / HT") == b""
        assert (await sent(port, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")) == b""


def test_a_request_is_taken_apart() -> None:
    found = parse_request(b"GET /a%20b?x=1&x=2 HTTP/1.1\r\nHost: h\r\n\r\n", Peer())

    assert found is not None
    assert (found.method, found.path, found.query["x"], found.header("HOST")) == (
        "GET",
        "/a b",
        ["1", "2"],
        "h",
    )

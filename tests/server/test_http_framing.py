"""What is no clear request is refused, and nothing that follows it is taken for one."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.starting import started
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

HEAD = b"Host: x\r\nAuthorization: Bearer secret\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n"


def post(headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /healthz HTTP/%b\r\n%b%b\r\n%b" % (version, HEAD, headers, body)


def get(headers: bytes, path: bytes = b"/healthz", version: bytes = b"1.1") -> bytes:
    return b"GET %b HTTP/%b\r\n%b%b\r\n" % (path, version, headers, HEAD)


async def said(server: ApiServer, data: bytes, wait: float = 5.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    text = await asyncio.wait_for(reader.read(), wait)
    writer.close()
    return text


def statuses(text: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", text)]


CHUNKS = b"0\r\n\r\n"
REFUSED = {
    "both lengths": (post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKS), 400),
    "both lengths, turned": (post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKS), 400),
    "two lengths": (post(b"Content-Length: 4\r\nContent-Length: 5\r\n", b"abcde"), 400),
    "the same length twice": (post(b"Content-Length: 4\r\nContent-Length: 4\r\n", b"abcd"), 400),
    "a list of lengths": (post(b"Content-Length: 4, 4\r\n", b"abcd"), 400),
    "a negative length": (post(b"Content-Length: -1\r\n"), 400),
    "a signed length": (post(b"Content-Length: +4\r\n", b"abcd"), 400),
    "a length in hex": (post(b"Content-Length: 0x4\r\n", b"abcd"), 400),
    "a length too large for a number": (post(b"Content-Length: 99999999999999999999999\r\n"), 400),
    "no length": (post(b"Content-Length: \r\n"), 400),
    "a space before the colon": (post(b"Content-Length : 4\r\n", b"abcd"), 400),
    "an encoding that is not known": (post(b"Transfer-Encoding: xchunked\r\n", CHUNKS), 400),
    "an encoding below chunks": (post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS), 501),
    "an encoding above chunks": (post(b"Transfer-Encoding: chunked, identity\r\n", CHUNKS), 400),
    "an encoding with a vertical tab": (post(b"Transfer-Encoding: \x0bchunked\r\n", CHUNKS), 400),
    "chunked twice": (post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS), 400),
    "an encoding on a folded line": (post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS), 400),
    "a folded header": (get(b"X: a\r\n b\r\n"), 400),
    "a first header that is folded": (get(b" X: a\r\n"), 400),
    "lines without CR": (b"GET /healthz HTTP/1.1\nHost: x\nAuthorization: Bearer secret\n\n", 400),
    "a header without CR": (get(b"X: a\nY: b\r\n"), 400),
    "a CR in a header": (get(b"X: a\rY: b\r\n"), 400),
    "NUL in a value": (get(b"X: a\0b\r\n"), 400),
    "NUL in a name": (get(b"X\0: a\r\n"), 400),
    "NUL in the target": (get(b"", b"/heal\0thz"), 400),
    "a header without a name": (get(b": a\r\n"), 400),
    "a header without a colon": (get(b"abc\r\n"), 400),
    "a space in the target": (get(b"", b"/heal thz"), 400),
    "no host": (b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer secret\r\n\r\n", 400),
    "two hosts": (get(b"Host: y\r\n"), 400),
    "an expectation that nobody knows": (post(b"Expect: 200-ok\r\nContent-Length: 0\r\n"), 417),
    "a chunk size that is none": (post(b"Transfer-Encoding: chunked\r\n", b"zz\r\n\r\n"), 400),
    "a chunk size that is too large": (post(b"Transfer-Encoding: chunked\r\n", b"f" * 17 + b"\r\n\r\n"), 400),
    "chunks without CR": (post(b"Transfer-Encoding: chunked\r\n", b"4\nabcd\n0\n\n"), 400),
    "a chunk longer than it says": (post(b"Transfer-Encoding: chunked\r\n", b"4\r\nabcdX0\r\n\r\n"), 400),
    "HTTP/2 without TLS": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/2.0 as a version": (get(b"", version=b"2.0"), 505),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", 505),
    "TLS without TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_can_be_read_in_two_ways_is_refused_and_hung_up_on(data: bytes, status: int) -> None:
    async with started() as server:
        assert statuses(await said(server, data + NEXT)) == [status]


TAKEN = {
    "white space after a length": post(b"Content-Length: 4 \r\n", b"abcd"),
    "chunks": post(b"Transfer-Encoding: chunked\r\n", b"4\r\nabcd\r\n" + CHUNKS),
    "Chunked, with a tab": post(b"Transfer-Encoding:\tChunked\r\n", CHUNKS),
    "a chunk extension": post(b"Transfer-Encoding: chunked\r\n", b"4;a=b\r\nabcd\r\n" + CHUNKS),
    "a trailer": post(b"Transfer-Encoding: chunked\r\n", b"0\r\nX-Late: 1\r\n\r\n"),
    "a body of a GET": b"GET /healthz HTTP/1.1\r\n" + HEAD + b"Content-Length: 4\r\n\r\nabcd",
    "empty lines before": b"\r\n\r\n" + get(b""),
    "a whole URL": get(b"", b"http://x/healthz"),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN.keys())
async def test_what_is_clear_is_answered_and_the_next_request_too(data: bytes) -> None:
    async with started() as server:
        assert statuses(await said(server, data + NEXT)) == [200, 200]


async def test_an_answer_is_given_before_the_bad_request_behind_it_is_refused() -> None:
    async with started() as server:
        assert statuses(await said(server, get(b"") + get(b"") + b"\0\r\n\r\n" + NEXT)) == [200, 200, 400]


async def test_nothing_behind_the_last_request_is_looked_at() -> None:
    async with started() as server:
        for last in (get(b"", version=b"1.0"), get(b"Connection: close\r\n")):
            assert statuses(await said(server, last + NEXT)) == [200]


async def test_http_1_0_may_keep_its_connection() -> None:
    async with started() as server:
        data = get(b"Connection: keep-alive\r\n", version=b"1.0")
        assert statuses(await said(server, data + NEXT)) == [200, 200]


PIECES = st.sampled_from(
    [b"GET ", b"POST ", b"/healthz", b"/api/v1/namespaces", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r", b"\0",
     b"Host: x\r\n", b"Content-Length: 3\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"abc", b" ",
     b"0\r\n\r\n", b"3\r\nabc\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n",
     b"Expect: 100-continue\r\n", b"Authorization: Bearer secret\r\n", b":", b"\xff\xfe", b"?watch=1&timeoutSeconds=1"]
)  # fmt: skip


async def test_raw_bytes_never_bring_a_500_a_hang_or_a_crash() -> None:
    async with started() as server:
        loop = asyncio.get_running_loop()

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=25).map(b"".join))
        def try_it(data: bytes) -> None:
            text = asyncio.run_coroutine_threadsafe(end_of(server, data), loop).result(20)
            assert not {code for code in statuses(text) if code >= 500} - {501, 505}

        await asyncio.to_thread(try_it)

        assert statuses(await said(server, NEXT)) == [200]


async def end_of(server: ApiServer, data: bytes) -> bytes:
    """All that the server says when a client says this and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()

"""Messages, headers and frames: what is written is read; what is none is refused, whatever it is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.aio.clock import VirtualClock
from timonel.store.base import Corrupt
from timonel.store.etcd import hpack, wire
from timonel.store.etcd.connection import Misconfigured, Settings, endpoints_of
from timonel.store.etcd.http2 import Http2Connection

REVISIONS = st.integers(0, (1 << 62))


@given(key=st.binary(), value=st.binary(), created=REVISIONS, modified=REVISIONS)
def test_a_watch_response_is_read(key: bytes, value: bytes, created: int, modified: int) -> None:
    kv = wire.text(1, key) + wire.number(2, created) + wire.number(3, modified) + wire.text(5, value)
    event = wire.number(1, 1) + wire.chunk(2, kv) + wire.chunk(3, kv)
    raw = wire.chunk(1, wire.number(3, modified)) + wire.number(7, 1) + wire.chunk(11, event) * 2

    found = wire.WatchResponse.read(raw)

    expected = wire.KeyValue(key, value, created, modified)
    assert (found.revision, found.fragment, len(found.events)) == (modified, True, 2)
    assert found.events[0] == wire.WatchEvent(True, expected, expected)


@given(raw=st.binary(max_size=60))
@pytest.mark.parametrize(
    "message", [wire.RangeResponse, wire.TxnResponse, wire.WatchResponse, wire.StatusResponse, wire.KeyValue]
)
def test_what_is_no_message_is_refused(message: type, raw: bytes) -> None:
    with contextlib.suppress(Corrupt):
        message.read(raw)  # type: ignore[attr-defined]


@given(
    headers=st.lists(st.tuples(st.text("abc-:", min_size=1, max_size=9), st.text("abc xyz", max_size=300)))
)
def test_headers_are_read_as_they_are_written(headers: list[tuple[str, str]]) -> None:
    assert hpack.decoded(hpack.encoded(headers)) == dict(headers)


@pytest.mark.parametrize(  # RFC 7541, appendix C
    ("coded", "plain"),
    [
        ("f1e3c2e5f23a6ba0ab90f4ff", b"www.example.com"),
        ("a8eb10649cbf", b"no-cache"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", b"Mon, 21 Oct 2013 20:13:21 GMT"),
    ],
)
def test_texts_that_are_shortened(coded: str, plain: bytes) -> None:
    assert hpack.unhuffman(bytes.fromhex(coded)) == plain


@given(block=st.binary(max_size=60))
def test_what_are_no_headers_is_refused(block: bytes) -> None:
    with contextlib.suppress(hpack.Malformed):
        hpack.decoded(block)


@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
async def test_a_peer_that_speaks_nonsense_breaks_nothing(data: bytes, cut: int) -> None:
    connection = Http2Connection("etcd", "http", VirtualClock(), (10.0, 5.0))
    connection.data_received(data[:cut])
    connection.data_received(data[cut:])
    connection.close()

    assert not connection.usable


@pytest.mark.parametrize(
    ("endpoints", "why"),
    [
        ((), "no endpoint"),
        (("ftp://a:1",), "begins with http"),
        (("http://a:1/path",), "is no endpoint"),
        (("http://a:1", "https://b:1"), "either all endpoints"),
    ],
)
def test_endpoints_that_cannot_be_used(endpoints: tuple[str, ...], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        endpoints_of(Settings(endpoints))


def test_endpoints_as_people_write_them() -> None:
    found = endpoints_of(Settings((" http://10.0.0.1", "etcd://b:1", "[::1]", "c:2379/")))

    assert [e.host for e in found] == ["10.0.0.1:2379", "b:1", "[::1]:2379", "c:2379"]

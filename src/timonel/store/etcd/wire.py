"""The messages of etcd v3 that are needed here, as bytes: protobuf by hand, since there are a dozen of them.

A request is a function that gives its bytes, an answer a record with a reader. Fields are written by their numbers;
what is zero or empty is left out, as proto3 does.

Upstream: etcd api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

from timonel.records import dataclass
from timonel.store.base import Corrupt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
CREATE, MOD = 1, 2  # Compare.target
MAX_INT64 = 1 << 63

Value = int | bytes


class Malformed(Corrupt):
    """An answer of etcd that cannot be read."""


# ---- writing


def varint(number: int) -> bytes:
    if number < 128:
        return number.to_bytes(1, "big")
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def number(tag: int, value: int) -> bytes:
    return varint(tag << 3) + varint(value) if value else b""


def chunk(tag: int, value: bytes) -> bytes:
    """A field of bytes, or a message in a message: also when it is empty."""
    return varint(tag << 3 | BYTES) + varint(len(value)) + value


def text(tag: int, value: bytes) -> bytes:
    return chunk(tag, value) if value else b""


def range_request(
    key: bytes,
    end: bytes = b"",
    *,
    limit: int = 0,
    revision: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
) -> bytes:
    which = text(1, key) + text(2, end) + number(3, limit) + number(4, revision)
    return which + number(8, keys_only) + number(9, count_only)


def put_request(key: bytes, value: bytes) -> bytes:
    return text(1, key) + text(2, value)


def delete_request(key: bytes, end: bytes = b"") -> bytes:
    return text(1, key) + text(2, end)


def compare(target: int, key: bytes, revision: int) -> bytes:
    """That the create or the modified revision of a key is this one (0: there is no such key)."""
    value_tag = 5 if target == CREATE else 6
    return number(2, target) + text(3, key) + varint(value_tag << 3) + varint(revision)


def op_range(request: bytes) -> bytes:
    return chunk(1, request)


def op_put(request: bytes) -> bytes:
    return chunk(2, request)


def op_delete(request: bytes) -> bytes:
    return chunk(3, request)


def txn_request(compares: Sequence[bytes], success: Sequence[bytes], failure: Sequence[bytes] = ()) -> bytes:
    """`success` and `failure` are operations made by `op_put` and its like."""
    return b"".join(
        (
            *(chunk(1, each) for each in compares),
            *(chunk(2, each) for each in success),
            *(chunk(3, each) for each in failure),
        )
    )


def compaction_request(revision: int) -> bytes:
    return number(1, revision)


def watch_create(key: bytes, end: bytes, *, start: int) -> bytes:
    """With previous values, in fragments where it is much."""
    request = text(1, key) + text(2, end) + number(3, start) + number(6, 1) + number(8, 1)
    return chunk(1, request)


WATCH_PROGRESS = chunk(3, b"")


def authenticate_request(name: str, password: str) -> bytes:
    return text(1, name.encode()) + text(2, password.encode())


# ---- reading


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    byte = raw[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while True:
        at += 1
        byte = raw[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7


def fields(raw: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field; values are ints or bytes. Raises Malformed."""
    at, end = 0, len(raw)
    try:
        while at < end:
            tag, at = _varint(raw, at)
            kind = tag & 7
            if kind == VARINT:
                value, at = _varint(raw, at)
                yield tag >> 3, value
            elif kind == BYTES:
                length, at = _varint(raw, at)
                if at + length > end:
                    raise Malformed("a field ends after its message")
                yield tag >> 3, raw[at : at + length]
                at += length
            elif kind in (FIXED64, FIXED32):
                at += 8 if kind == FIXED64 else 4
            else:
                raise Malformed(f"wire type {kind}")
    except IndexError as error:
        raise Malformed("a message that ends too early") from error


def _integer(value: Value) -> int:
    if not isinstance(value, int):
        raise Malformed("bytes where a number belongs")
    return value - (1 << 64) if value >= MAX_INT64 else value


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed("a number where bytes belong")
    return value


@dataclass(slots=True)
class KeyValue:
    key: bytes = b""
    value: bytes = b""
    created: int = 0
    modified: int = 0

    @classmethod
    def read(cls, raw: bytes) -> KeyValue:
        found = cls()
        for tag, value in fields(raw):
            if tag == 5:
                found.value = _bytes(value)
            elif tag == 1:
                found.key = _bytes(value)
            elif tag == 2:
                found.created = _integer(value)
            elif tag == 3:
                found.modified = _integer(value)
        return found


def _revision(header: bytes) -> int:
    return next((_integer(value) for tag, value in fields(header) if tag == 3), 0)


@dataclass(slots=True)
class RangeResponse:
    revision: int = 0
    kvs: list[KeyValue] = field(default_factory=list)
    more: bool = False
    count: int = 0  # of the whole range, not of what came

    @classmethod
    def read(cls, raw: bytes) -> RangeResponse:
        found = cls()
        for tag, value in fields(raw):
            if tag == 1:
                found.revision = _revision(_bytes(value))
            elif tag == 2:
                found.kvs.append(KeyValue.read(_bytes(value)))
            elif tag == 3:
                found.more = bool(value)
            elif tag == 4:
                found.count = _integer(value)
        return found


@dataclass(slots=True)
class TxnResponse:
    revision: int = 0
    succeeded: bool = False
    ranges: list[RangeResponse] = field(default_factory=list)  # of the range operations among its parts

    @classmethod
    def read(cls, raw: bytes) -> TxnResponse:
        found = cls()
        for tag, value in fields(raw):
            if tag == 1:
                found.revision = _revision(_bytes(value))
            elif tag == 2:
                found.succeeded = bool(value)
            elif tag == 3:
                for kind, part in fields(_bytes(value)):
                    if kind == 1:
                        found.ranges.append(RangeResponse.read(_bytes(part)))
        return found


@dataclass(slots=True)
class WatchEvent:
    deleted: bool = False
    kv: KeyValue = field(default_factory=KeyValue)
    previous: KeyValue | None = None

    @classmethod
    def read(cls, raw: bytes) -> WatchEvent:
        found = cls()
        for tag, value in fields(raw):
            if tag == 1:
                found.deleted = _integer(value) == 1
            elif tag == 2:
                found.kv = KeyValue.read(_bytes(value))
            elif tag == 3:
                found.previous = KeyValue.read(_bytes(value))
        return found


@dataclass(slots=True)
class WatchResponse:
    revision: int = 0
    created: bool = False
    canceled: bool = False
    compacted: int = 0  # the oldest revision that can still be watched, when the asked-for one is older
    reason: str = ""
    fragment: bool = False  # more of the same revision follows
    events: list[WatchEvent] = field(default_factory=list)

    @classmethod
    def read(cls, raw: bytes) -> WatchResponse:
        found = cls()
        for tag, value in fields(raw):
            if tag == 1:
                found.revision = _revision(_bytes(value))
            elif tag == 3:
                found.created = bool(value)
            elif tag == 4:
                found.canceled = bool(value)
            elif tag == 5:
                found.compacted = _integer(value)
            elif tag == 6:
                found.reason = _bytes(value).decode(errors="replace")
            elif tag == 7:
                found.fragment = bool(value)
            elif tag == 11:
                found.events.append(WatchEvent.read(_bytes(value)))
        return found


@dataclass(slots=True)
class StatusResponse:
    version: str = ""
    size: int = 0  # bytes

    @classmethod
    def read(cls, raw: bytes) -> StatusResponse:
        found = cls()
        for tag, value in fields(raw):
            if tag == 2:
                found.version = _bytes(value).decode(errors="replace")
            elif tag == 3:
                found.size = _integer(value)
        return found


def read_token(raw: bytes) -> str:
    """Of an AuthenticateResponse."""
    return next((_bytes(value).decode() for tag, value in fields(raw) if tag == 2), "")

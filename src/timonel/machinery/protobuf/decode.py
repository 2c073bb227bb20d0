"""Messages to the trees that JSON would have given.

Code is compiled per message on first use. A field that a message does not have is skipped, as upstream does. A value
that was sent as zero is in the tree: what `omitempty` leaves out is decided by `timonel.machinery.codec`.

Upstream: apimachinery/pkg/runtime/serializer/protobuf/protobuf.go and the generated Unmarshal methods;
pkg/apis/meta/v1/time_proto.go, micro_time_proto.go.
"""

from __future__ import annotations

import struct
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from timonel.machinery.codec import DecodeError
from timonel.records import dataclass

MAGIC = b"k8s\x00"

Object = dict[str, Any]
Lookup = Callable[[str], Iterable[tuple[int, str, str]]]
Read = Callable[[bytes, int, int], Any]  # (bytes, start, end) -> value
Put = Callable[[Object, bytes, int, int], None]  # the same, into the message under way
Number = Callable[[int], Any]  # of a varint

VARINT, FIXED64, CHUNK, START_GROUP, END_GROUP, FIXED32 = range(6)
TRUNCATED = "unexpected EOF"

# What is done with a field, most frequent first.
_TEXT, _READ, _PUT, _NUMBER, _NUMBERS, _DOUBLE = range(6)


@dataclass(frozen=True, slots=True)
class Envelope:
    api_version: str
    kind: str
    raw: bytes


def unwrap(body: bytes) -> Envelope:
    """Raises DecodeError."""
    if not body.startswith(MAGIC):
        if not body:
            raise DecodeError("empty data")
        raise DecodeError(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    unknown = _PARTS.message("Unknown", body[len(MAGIC) :])
    meta = unknown.get("typeMeta", {})
    return Envelope(meta.get("apiVersion", ""), meta.get("kind", ""), unknown.get("raw", b""))


class Decoder:
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._messages: dict[str, Read] = {}

    def message(self, name: str, raw: bytes) -> Object:
        """The tree of a message. Raises DecodeError; KeyError for a message that nobody knows."""
        read = self.reader(name)
        try:
            found: Object = read(raw, 0, len(raw))
        except IndexError:
            raise DecodeError(TRUNCATED) from None
        except RecursionError:
            raise DecodeError("exceeded max depth") from None
        return found

    # ---- compile

    def reader(self, name: str) -> Read:
        """The compiled code of a message; it raises IndexError too, where the bytes end early."""
        read = self._messages.get(name)
        if read is None:
            read = self._messages[name] = self._compile(lambda: self._lookup(name))
        return read

    def _compile(self, fields: Callable[[], Iterable[tuple[int, str, str]]]) -> Read:
        # Filled when the first message is read: messages contain each other and themselves.
        table: dict[int, tuple[int, str, Any]] = {}
        names: dict[int, str] = {}
        get = table.get

        def fill() -> None:
            for number, name, kind in fields():
                names[number] = name
                for wire, how, run in self._field(name, kind):
                    table[number << 3 | wire] = (how, name, run)

        def read(raw: bytes, at: int, end: int) -> Object:
            found: Object = {}
            if not table:
                fill()
            while at < end:
                tag = raw[at]
                at += 1
                if tag > 0x7F:
                    tag, at = _varint(raw, at - 1)
                entry = get(tag)
                if entry is None:
                    at = _skip(raw, at, tag, names)
                    continue
                how, name, run = entry
                if how <= _PUT:
                    size = raw[at]
                    at += 1
                    if size > 0x7F:
                        size, at = _varint(raw, at - 1)
                    stop = at + size
                    if stop > end:
                        raise DecodeError(TRUNCATED)
                    if how == _TEXT:
                        found[name] = str(raw[at:stop], "utf-8", "replace")
                    elif how == _READ:
                        found[name] = run(raw, at, stop)
                    else:
                        run(found, raw, at, stop)
                    at = stop
                elif how == _DOUBLE:
                    found[name] = run(raw, at, at + 8)
                    at += 8
                else:
                    value, at = _varint(raw, at)
                    if how == _NUMBER:
                        found[name] = run(value)
                    else:
                        found.setdefault(name, []).append(run(value))
            if at != end:
                raise DecodeError(TRUNCATED)
            return found

        return read

    def _field(self, name: str, kind: str) -> Iterable[tuple[int, int, Any]]:
        """(wire type, what to do, with which function), for each form in which the field may come."""
        number = _NUMBER_KINDS.get(kind.removeprefix("[]"))
        if number is not None and kind.startswith("[]"):
            return (VARINT, _NUMBERS, number), (CHUNK, _PUT, _packed(name, number))
        if number is not None:
            return ((VARINT, _NUMBER, number),)
        if kind == "double":
            return ((FIXED64, _DOUBLE, _double),)
        if kind == "string":
            return ((CHUNK, _TEXT, None),)
        if kind.startswith("+"):
            return ((CHUNK, _PUT, _inlined(self.reader(kind[1:]))),)
        if kind.startswith("[]"):
            return ((CHUNK, _PUT, _appended(name, self._read(kind[2:]))),)
        if kind.startswith("{}"):
            return ((CHUNK, _PUT, self._entry(name, kind[2:])),)
        return ((CHUNK, _READ, self._read(kind)),)

    def _read(self, kind: str) -> Read:
        read = _CHUNK_KINDS.get(kind)
        if read is not None:
            return read
        if kind.startswith("="):
            return _standing_for(self.reader(kind[1:]))
        return self.reader(kind)

    def _entry(self, name: str, kind: str) -> Put:
        """An entry of a map: a message with a key and a value."""
        entry = self._compile(lambda: ((1, "key", "string"), (2, "value", kind)))
        read = self._read(kind)

        def put(found: Object, raw: bytes, at: int, end: int) -> None:
            pair = entry(raw, at, end)
            value = pair["value"] if "value" in pair else read(b"", 0, 0)
            found.setdefault(name, {})[pair.get("key", "")] = value

        return put


def _appended(name: str, read: Read) -> Put:
    def put(found: Object, raw: bytes, at: int, end: int) -> None:
        items = found.get(name)
        if items is None:
            found[name] = [read(raw, at, end)]
        else:
            items.append(read(raw, at, end))

    return put


def _inlined(read: Read) -> Put:
    def put(found: Object, raw: bytes, at: int, end: int) -> None:
        found.update(read(raw, at, end))

    return put


def _packed(name: str, number: Number) -> Put:
    def put(found: Object, raw: bytes, at: int, end: int) -> None:
        items = found.setdefault(name, [])
        while at < end:
            value, at = _varint(raw, at)
            items.append(number(value))

    return put


def _standing_for(message: Read) -> Read:
    """The field that is set; of several the last one, since a flag that is always sent comes before it."""

    def read(raw: bytes, at: int, end: int) -> Any:
        values = list(message(raw, at, end).values())
        return values[-1] if values else None

    return read


# ---- the wire


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = raw[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise DecodeError("proto: integer overflow")


def _skip(raw: bytes, at: int, tag: int, names: dict[int, str]) -> int:
    """Where the field that nobody knows ends. Raises DecodeError when it is a known one in a wrong form."""
    number, wire = tag >> 3, tag & 7
    if number in names:
        raise DecodeError(f"proto: wrong wireType = {wire} for field {names[number]}")
    if number == 0:
        raise DecodeError(f"proto: illegal tag {number} (wire type {wire})")
    if wire == VARINT:
        return _varint(raw, at)[1]
    if wire == CHUNK:
        size, at = _varint(raw, at)
        return _within(raw, at + size)
    if wire in (FIXED64, FIXED32):
        return _within(raw, at + (8 if wire == FIXED64 else 4))
    if wire != START_GROUP:
        raise DecodeError(f"proto: illegal wireType {wire}")
    tag, at = _varint(raw, at)
    while tag & 7 != END_GROUP:
        at = _skip(raw, at, tag, {})
        tag, at = _varint(raw, at)
    return at


def _within(raw: bytes, at: int) -> int:
    if at > len(raw):
        raise DecodeError(TRUNCATED)
    return at


# ---- values


def _int32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 0x100000000 if value > 0x7FFFFFFF else value


def _int64(value: int) -> int:
    return value - 0x10000000000000000 if value > 0x7FFFFFFFFFFFFFFF else value


def _double(raw: bytes, at: int, end: int) -> float:
    found: float = struct.unpack("<d", raw[at : _within(raw, end)])[0]
    return found


def _text(raw: bytes, at: int, end: int) -> str:
    return str(raw[at:end], "utf-8", "replace")


def _slice(raw: bytes, at: int, end: int) -> bytes:
    return raw[at:end]


def _bytes(raw: bytes, at: int, end: int) -> str:
    return b2a_base64(raw[at:end], newline=False).decode()


def _json(raw: bytes, at: int, end: int) -> Any:
    if at == end:
        return None
    try:
        return orjson.loads(raw[at:end])
    except orjson.JSONDecodeError as e:
        raise DecodeError(f"json: {e}") from None


def _raw(raw: bytes, at: int, end: int) -> Any:
    """RawExtension, FieldsV1, JSON: text in a message."""
    return _PARTS.reader("Raw")(raw, at, end).get("raw")


def _strings(raw: bytes, at: int, end: int) -> list[str]:
    items: list[str] = _PARTS.reader("Strings")(raw, at, end).get("items", [])
    return items


def _quantity(raw: bytes, at: int, end: int) -> str:
    text: str = _PARTS.reader("Quantity")(raw, at, end).get("string", "0")
    return text


def _int_or_string(raw: bytes, at: int, end: int) -> int | str:
    parts = _PARTS.reader("IntOrString")(raw, at, end)
    found: int | str = parts.get("strVal", "") if parts.get("type") == 1 else parts.get("intVal", 0)
    return found


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(seconds: int) -> str:
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    except OverflowError:
        raise DecodeError(f"time {seconds} is out of range") from None


def _time(raw: bytes, at: int, end: int) -> str | None:
    """Whole seconds, as upstream reads it; an empty message is no time."""
    if at == end:
        return None
    return _moment(_PARTS.reader("Timestamp")(raw, at, end).get("seconds", 0)) + "Z"


def _micro_time(raw: bytes, at: int, end: int) -> str | None:
    if at == end:
        return None
    parts = _PARTS.reader("Timestamp")(raw, at, end)
    seconds, micros = divmod(parts.get("nanos", 0) // 1000, 1_000_000)
    return f"{_moment(parts.get('seconds', 0) + seconds)}.{micros:06d}Z"


_NUMBER_KINDS: dict[str, Number] = {"int32": _int32, "int64": _int64, "boolean": bool}
_CHUNK_KINDS: dict[str, Read] = {
    "string": _text, "bytes": _bytes, "slice": _slice, "json": _json, "raw": _raw, "strings": _strings,
    "quantity": _quantity, "intstr": _int_or_string, "time": _time, "microtime": _micro_time,
}  # fmt: skip

# The messages that every object stands on.
_PARTS = Decoder(
    {
        "Unknown": ((1, "typeMeta", "TypeMeta"), (2, "raw", "slice")),
        "TypeMeta": ((1, "apiVersion", "string"), (2, "kind", "string")),
        "Raw": ((1, "raw", "json"),),
        "Strings": ((1, "items", "[]string"),),
        "Quantity": ((1, "string", "string"),),
        "IntOrString": ((1, "type", "int32"), (2, "intVal", "int32"), (3, "strVal", "string")),
        "Timestamp": ((1, "seconds", "int64"), (2, "nanos", "int32")),
    }.__getitem__
)

"""Trees to messages, the other way round of `decode`.

Code is compiled per message on first use. Fields come in the order of their numbers. What is not in the tree, or null,
is not written; a Go client reads it as the zero that it is. A field that has no number is left out.

Upstream: apimachinery/pkg/runtime/serializer/protobuf/protobuf.go and the generated Marshal methods.
"""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from timonel.machinery.protobuf.decode import CHUNK, FIXED64, MAGIC, VARINT, Lookup, Object

Write = Callable[[Any], bytes]  # a value, without its tag

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wrap(api_version: str, kind: str, raw: bytes) -> bytes:
    """A whole body."""
    meta = _sized(1, api_version.encode()) + _sized(2, kind.encode())
    return MAGIC + _sized(1, meta) + _sized(2, raw) + _sized(3, b"") + _sized(4, b"")


def watch_event(type_: bytes, body: bytes) -> bytes:
    """A frame of a watch: its length and a meta/v1 WatchEvent, which goes without an envelope of its own."""
    event = _sized(1, type_) + _sized(2, _sized(1, body))
    return struct.pack(">I", len(event)) + event


class Encoder:
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._messages: dict[str, Write] = {}

    def message(self, name: str, tree: Object) -> bytes:
        """Raises KeyError for a message that nobody knows."""
        return self._message(name)(tree)

    # ---- compile

    def _message(self, name: str) -> Write:
        write = self._messages.get(name)
        if write is None:
            write = self._messages[name] = self._compile(name)
        return write

    def _compile(self, name: str) -> Write:
        # Filled when the first message is written: messages contain each other and themselves.
        fields: list[tuple[str, Write]] = []

        def fill() -> None:
            for number, field, kind in sorted(self._lookup(name)):
                fields.append((field, self._field(number, kind)))

        def write(tree: Object) -> bytes:
            if not fields:
                fill()
            parts = []
            for field, put in fields:
                value = tree.get(field) if field else tree
                if value is not None:
                    parts.append(put(value))
            return b"".join(parts)

        return write

    def _field(self, number: int, kind: str) -> Write:
        """A value with its tag."""
        if kind.startswith("[]"):
            put = self._field(number, kind[2:])
            return lambda items: b"".join([put(item) for item in items if item is not None])
        if kind.startswith("{}"):
            return self._entries(number, kind[2:])
        if kind.startswith("+"):
            write: Write = self._message(kind[1:])
        elif kind.startswith("="):
            write = self._choice(kind[1:])
        else:
            write = _VALUES.get(kind) or self._message(kind)
        wire = _WIRES.get(kind, CHUNK)
        tag = _varint(number << 3 | wire)
        if wire == CHUNK:
            return lambda value: tag + _chunk(write(value))
        return lambda value: tag + write(value)

    def _entries(self, number: int, kind: str) -> Write:
        tag, put = _varint(number << 3 | CHUNK), self._field(2, kind)

        def write(tree: Object) -> bytes:
            return b"".join(
                [
                    tag + _chunk(_sized(1, key.encode()) + (put(value) if value is not None else b""))
                    for key, value in sorted(tree.items())
                ]
            )

        return write

    def _choice(self, name: str) -> Write:
        """A message of which the one field that is set stands for it: which one is told by the value."""
        fields = list(self._lookup(name))
        puts = {_form_of(kind): self._field(number, kind) for number, _, kind in fields}
        flag = puts.get(bool)

        def write(value: Any) -> bytes:
            put = puts[type(value)]
            return (flag(True) if flag is not None and put is not flag else b"") + put(value)

        return write


def _form_of(kind: str) -> type:
    if kind.startswith("[]"):
        return list
    return bool if kind == "boolean" else dict


# ---- the wire


def _varint(number: int) -> bytes:
    if 0 <= number < 0x80:
        return _BYTES[number]
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_BYTES = [bytes((number,)) for number in range(0x80)]


def _chunk(raw: bytes) -> bytes:
    return _varint(len(raw)) + raw


def _sized(number: int, raw: bytes) -> bytes:
    return _varint(number << 3 | CHUNK) + _varint(len(raw)) + raw


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | VARINT) + _varint(value)


# ---- values


def _int_or_string(value: int | str) -> bytes:
    is_text = isinstance(value, str)
    text, number = (value, 0) if isinstance(value, str) else ("", value)
    return _number(1, int(is_text)) + _number(2, number) + _sized(3, text.encode())


def _timestamp(text: str) -> bytes:
    seconds, rest = divmod(datetime.fromisoformat(text) - _EPOCH, timedelta(seconds=1))
    return _number(1, seconds) + _number(2, rest.microseconds * 1000)


_VALUES: dict[str, Write] = {
    "int32": _varint,
    "int64": _varint,
    "boolean": lambda value: _BYTES[value],
    "double": lambda value: struct.pack("<d", value),
    "string": str.encode,
    "bytes": b64decode,
    "time": _timestamp,
    "microtime": _timestamp,
    "quantity": lambda value: _sized(1, str(value).encode()),
    "intstr": _int_or_string,
    "raw": lambda value: _sized(1, orjson.dumps(value)),
    "strings": lambda items: b"".join([_sized(1, item.encode()) for item in items]),
}
_WIRES = {"int32": VARINT, "int64": VARINT, "boolean": VARINT, "double": FIXED64}

"""Bodies in application/vnd.kubernetes.protobuf, as kubectl create and typed Go clients send them, to JSON trees.

A body is a magic number and a runtime.Unknown, which holds kind, apiVersion and the object. Which field has which
number stands in `protonumbers`, what it holds in the schema. Answers are JSON: such clients accept both.

Upstream: apimachinery/pkg/runtime/serializer/protobuf/protobuf.go, apimachinery/pkg/runtime/generated.proto.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.protonumbers import NUMBERS

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
VARINT, FIXED64, CHUNK, FIXED32 = 0, 1, 2, 5

Lookup = Callable[[str], Mapping[str, Any]]  # a type's data by its name
Raw = int | bytes


def malformed(what: str) -> errors.BadRequest:
    return errors.BadRequest(f"couldn't decode the protobuf body: {what}")


def read(body: bytes, type_name: str, lookup: Lookup) -> Object:
    """The object. Raises BadRequest for what is no such body, UnsupportedMediaType for a field unknown here."""
    if not body.startswith(MAGIC):
        raise malformed("it does not begin with the expected prefix")
    unknown = dict(fields(body[len(MAGIC) :]))
    meta = dict(fields(_chunk(unknown.get(1, b""))))
    obj = message(_chunk(unknown.get(2, b"")), type_name, lookup)
    obj["apiVersion"] = _chunk(meta.get(1, b"")).decode()
    obj["kind"] = _chunk(meta.get(2, b"")).decode()
    return obj


def fields(raw: bytes) -> Iterator[tuple[int, Raw]]:
    """Number and value of each field: an int, or the bytes of a string, a message or a fixed number."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == VARINT:
            value, position = _varint(raw, position)
            yield tag >> 3, value
            continue
        if kind == CHUNK:
            length, position = _varint(raw, position)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise malformed(f"wire type {kind}")
        if position + length > len(raw):
            raise malformed("unexpected end")
        yield tag >> 3, raw[position : position + length]
        position += length


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(raw) or shift > 63:
            raise malformed("bad number")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _chunk(value: Raw) -> bytes:
    if not isinstance(value, bytes):
        raise malformed("a number where a message is expected")
    return value


def _number(value: Raw) -> int:
    if not isinstance(value, int):
        raise malformed("bytes where a number is expected")
    return value - (1 << 64) if value >= 1 << 63 else value


@lru_cache(maxsize=256)
def names_of(type_name: str) -> dict[int, str]:
    listed = NUMBERS.get(type_name)
    if listed is None:
        raise errors.UnsupportedMediaType(
            f"objects with a {type_name} are read as JSON only, not as protobuf"
        )
    return {number: name for number, name in enumerate(listed.split(), 1) if name != "-"}


def message(raw: bytes, type_name: str, lookup: Lookup) -> Object:
    names, found = names_of(type_name), {}
    types: Mapping[str, Any] = lookup(type_name)["fields"]
    for number, value in fields(raw):
        name = names.get(number)
        if name is None:
            raise errors.UnsupportedMediaType(
                f"field {number} of {type_name} is read as JSON only, not as protobuf"
            )
        if name.startswith("("):
            found.update(_inlined(_chunk(value), name[1:], types, lookup))
            continue
        _put(found, name, value, types[name], lookup)
    return found


def _inlined(raw: bytes, type_name: str, types: Mapping[str, Any], lookup: Lookup) -> Object:
    """A struct that JSON has not as a field: its fields are those of the one around it."""
    found: Object = {}
    names = names_of(type_name)
    for number, value in fields(raw):
        _put(found, names[number], value, types[names[number]], lookup)
    return found


def _put(found: Object, name: str, value: Raw, data: Mapping[str, Any], lookup: Lookup) -> None:
    kind = data["t"]
    if kind == "list":
        found.setdefault(name, []).append(_value(value, data["of"], lookup))
    elif kind == "map":
        pair = dict(fields(_chunk(value)))
        key = _chunk(pair.get(1, b"")).decode()
        found.setdefault(name, {})[key] = _value(pair.get(2, b""), data["of"], lookup)
    else:
        found[name] = _value(value, data, lookup)


def _value(value: Raw, data: Mapping[str, Any], lookup: Lookup) -> Any:
    kind = data["t"]
    if kind == "ref":
        return message(_chunk(value), data["ref"], lookup)
    if kind == "list":  # a list inside a map is a message with `items`
        return [_value(item, data["of"], lookup) for _, item in fields(_chunk(value))]
    read_one = SCALARS.get(kind)
    if read_one is None:
        raise errors.UnsupportedMediaType(f"a value of type {kind} is read as JSON only, not as protobuf")
    return read_one(value)


def _string(value: Raw) -> str:
    try:
        return _chunk(value).decode()
    except UnicodeDecodeError as error:
        raise malformed("a string that is not UTF-8") from error


def _int_or_string(value: Raw) -> int | str:
    parts = dict(fields(_chunk(value)))
    if _number(parts.get(1, 0)) == 1:
        return _string(parts.get(3, b""))
    return _number(parts.get(2, 0))


def _moment(value: Raw) -> tuple[datetime, int] | None:
    parts = dict(fields(_chunk(value)))
    if not parts:
        return None
    return datetime.fromtimestamp(_number(parts.get(1, 0)), UTC), _number(parts.get(2, 0))


def _time(value: Raw) -> str | None:
    moment = _moment(value)
    return moment[0].strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _micro_time(value: Raw) -> str | None:
    moment = _moment(value)
    return f"{moment[0]:%Y-%m-%dT%H:%M:%S}.{moment[1] // 1000:06d}Z" if moment else None


def _json(value: Raw) -> Any:
    """FieldsV1 and RawExtension: JSON text in a message."""
    text = _chunk(dict(fields(_chunk(value))).get(1, b"null"))
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise malformed("JSON in it cannot be read") from error


SCALARS: dict[str, Callable[[Raw], Any]] = {
    "string": _string,
    "boolean": lambda value: bool(_number(value)),
    "int32": _number,
    "int64": _number,
    "number": lambda value: struct.unpack("<d", _chunk(value))[0],
    "double": lambda value: struct.unpack("<d", _chunk(value))[0],
    "bytes": lambda value: base64.b64encode(_chunk(value)).decode(),
    "time": _time,
    "microtime": _micro_time,
    "quantity": lambda value: _string(dict(fields(_chunk(value))).get(1, b"")),
    "intstr": _int_or_string,
    "raw": _json,
}

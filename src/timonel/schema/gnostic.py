"""An OpenAPI version 2 document in protobuf, for clients that read no other form (kubectl up to 1.26).

Only the messages and fields that our own documents have (`timonel.schema.openapi`) are written. Numbers are those of
the published message definitions.

Upstream: github.com/google/gnostic openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

Json = dict[str, Any]

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _texts(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_text(number, value) for value in values)


def _true(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(number: int, name: str, value: bytes) -> bytes:
    return _bytes(number, _text(1, name) + _bytes(2, value))


def _extensions(number: int, tree: Json) -> bytes:
    """Vendor extensions; a client reads their YAML, of which JSON is a form."""
    return b"".join(
        _named(number, key, _text(2, orjson.dumps(value).decode() + "\n"))
        for key, value in tree.items()
        if key.startswith("x-")
    )


def document(tree: Json) -> bytes:
    info = tree["info"]
    paths = b"".join(_named(2, path, _path_item(item)) for path, item in tree["paths"].items())
    definitions = b"".join(_named(1, name, _schema(found)) for name, found in tree["definitions"].items())
    return b"".join(
        (
            _text(1, tree["swagger"]),
            _bytes(2, _text(1, info["title"]) + _text(2, info["version"])),
            _bytes(8, paths),
            _bytes(9, definitions),
        )
    )


def _path_item(item: Json) -> bytes:
    operations = b"".join(
        _bytes(number, _operation(item[method])) for method, number in _METHODS.items() if method in item
    )
    return operations + b"".join(_bytes(9, _parameter(p)) for p in item.get("parameters", ()))


def _operation(operation: Json) -> bytes:
    answers = b"".join(
        _named(1, code, _bytes(1, _response(answer))) for code, answer in operation["responses"].items()
    )
    return b"".join(
        (
            _texts(6, operation.get("produces", ())),
            _texts(7, operation.get("consumes", ())),
            *(_bytes(8, _parameter(p)) for p in operation["parameters"]),
            _bytes(9, answers),
            _extensions(13, operation),
        )
    )


def _response(answer: Json) -> bytes:
    return _text(1, answer["description"]) + _bytes(2, _bytes(1, _schema(answer["schema"])))


def _parameter(parameter: Json) -> bytes:
    """A ParametersItem: a body parameter, or one in the query or path."""
    name, place = parameter["name"], parameter["in"]
    if place == "body":
        body = (
            _text(2, name)
            + _text(3, place)
            + _true(4, parameter["required"])
            + _bytes(5, _schema(parameter["schema"]))
        )
        return _bytes(1, _bytes(1, body))
    common = _true(1, parameter.get("required", False)) + _text(2, place) + _text(4, name)
    if place == "query":
        sub = _bytes(3, common + _text(6, parameter["type"]) + _true(20, parameter.get("uniqueItems", False)))
    else:
        sub = _bytes(4, common + _text(5, parameter["type"]))
    return _bytes(1, _bytes(2, sub))


def _schema(schema: Json) -> bytes:
    out = [
        _text(1, schema.get("$ref", "")),
        _text(2, schema.get("format", "")),
        _text(4, schema.get("description", "")),
    ]
    if "default" in schema:
        out.append(_bytes(5, _text(2, orjson.dumps(schema["default"]).decode() + "\n")))
    out.append(_texts(19, schema.get("required", ())))
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        out.append(_bytes(21, _bytes(1, _schema(more))))
    elif more is not None:
        out.append(_bytes(21, _true(2, more)))
    if "type" in schema:
        out.append(_bytes(22, _text(1, schema["type"])))
    if "items" in schema:
        out.append(_bytes(23, _bytes(1, _schema(schema["items"]))))
    if "properties" in schema:
        properties = (_named(1, name, _schema(value)) for name, value in schema["properties"].items())
        out.append(_bytes(25, b"".join(properties)))
    out.append(_extensions(31, schema))
    return b"".join(out)

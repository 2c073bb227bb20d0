from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.codec import Codecs, DecodeError
from timonel.machinery.protobuf import MAGIC, Decoder, Encoder, unwrap, watch_event, wrap
from timonel.schema import load
from timonel.schema import protobuf as fields

TYPES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "t.Thing": (
        (1, "name", "string"),
        (2, "count", "int32"),
        (3, "size", "int64"),
        (4, "on", "boolean"),
        (5, "ratio", "double"),
        (6, "data", "bytes"),
        (7, "at", "time"),
        (8, "exactly", "microtime"),
        (9, "amount", "quantity"),
        (10, "port", "intstr"),
        (11, "extra", "raw"),
        (12, "names", "[]string"),
        (13, "numbers", "[]int64"),
        (14, "labels", "{}string"),
        (15, "amounts", "{}quantity"),
        (16, "child", "t.Thing"),
        (17, "children", "[]t.Thing"),
        (18, "", "+t.Common"),
        (19, "lists", "{}strings"),
        (20, "choice", "=t.Choice"),
    ),
    "t.Common": ((1, "shared", "string"),),
    "t.Choice": ((1, "allows", "boolean"), (2, "thing", "t.Thing")),
}
DECODER, ENCODER = Decoder(TYPES.__getitem__), Encoder(TYPES.__getitem__)
SCHEMA, MESSAGES = load(), fields.load()
API, CODECS = Decoder(MESSAGES.fields), Codecs(SCHEMA.type)
KUBECTL = json.loads((Path(__file__).parent / "kubectl_bodies.json").read_text())


def varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def num(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def chunk(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def thing(raw: bytes) -> dict[str, Any]:
    return DECODER.message("t.Thing", raw)


VALUES: list[tuple[bytes, dict[str, Any]]] = [
    (b"", {}),
    (chunk(1, "né".encode()), {"name": "né"}),
    (chunk(1, b"a\xffb"), {"name": "a�b"}),
    (chunk(1, b"x" * 300), {"name": "x" * 300}),
    (chunk(1, b"") + num(2, 0) + num(4, 0), {"name": "", "count": 0, "on": False}),
    (num(2, -1) + num(3, -(1 << 63)), {"count": -1, "size": -(1 << 63)}),
    (num(2, 0x7FFFFFFF) + num(4, 1), {"count": 0x7FFFFFFF, "on": True}),
    (varint(5 << 3 | 1) + struct.pack("<d", 1.5), {"ratio": 1.5}),
    (chunk(6, b"\xff\x00"), {"data": "/wA="}),
    (chunk(7, num(1, 86400) + num(2, 5)), {"at": "1970-01-02T00:00:00Z"}),
    (chunk(7, num(1, -1)), {"at": "1969-12-31T23:59:59Z"}),
    (chunk(7, b"") + chunk(8, b""), {"at": None, "exactly": None}),
    (chunk(8, num(1, 1) + num(2, 2500)), {"exactly": "1970-01-01T00:00:01.000002Z"}),
    (chunk(9, chunk(1, b"100m")), {"amount": "100m"}),
    (chunk(9, b""), {"amount": "0"}),
    (chunk(10, num(1, 0) + num(2, 80) + chunk(3, b"")), {"port": 80}),
    (chunk(10, num(1, 1) + num(2, 0) + chunk(3, b"http")), {"port": "http"}),
    (chunk(11, chunk(1, b'{"a":[1]}')), {"extra": {"a": [1]}}),
    (chunk(11, b""), {"extra": None}),
    (chunk(12, b"a") + num(2, 1) + chunk(12, b"b"), {"names": ["a", "b"], "count": 1}),
    (num(13, 1) + num(13, -2), {"numbers": [1, -2]}),
    (chunk(13, varint(300) + varint(-1)), {"numbers": [300, -1]}),
    (chunk(14, chunk(1, b"k") + chunk(2, b"v")), {"labels": {"k": "v"}}),
    (chunk(14, chunk(2, b"v")) + chunk(14, chunk(1, b"k")), {"labels": {"": "v", "k": ""}}),
    (chunk(15, chunk(1, b"cpu")), {"amounts": {"cpu": "0"}}),
    (chunk(16, chunk(16, b"")), {"child": {"child": {}}}),
    (chunk(17, b"") + chunk(17, chunk(1, b"x")), {"children": [{}, {"name": "x"}]}),
    (chunk(18, chunk(1, b"ours")), {"shared": "ours"}),
    (chunk(19, chunk(1, b"k") + chunk(2, chunk(1, b"a") + chunk(1, b"b"))), {"lists": {"k": ["a", "b"]}}),
    (chunk(20, num(1, 0)), {"choice": False}),
    (chunk(20, num(1, 1) + chunk(2, chunk(1, b"x"))), {"choice": {"name": "x"}}),
    (chunk(20, b""), {"choice": None}),
]


@pytest.mark.parametrize(("raw", "tree"), VALUES)
def test_values_are_what_json_would_have_given(raw: bytes, tree: dict[str, Any]) -> None:
    assert thing(raw) == tree


@pytest.mark.parametrize(
    "unknown",
    [
        num(99, 1 << 40),
        chunk(99, b"\xff" * 200),
        varint(99 << 3 | 1) + b"12345678",
        varint(99 << 3 | 5) + b"1234",
        varint(99 << 3 | 3) + num(1, 5) + chunk(2, b"x") + varint(99 << 3 | 4),
    ],
)
def test_a_field_that_nobody_knows_is_skipped(unknown: bytes) -> None:
    assert thing(chunk(1, b"a") + unknown + num(2, 7)) == {"name": "a", "count": 7}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x0a", "unexpected EOF"),
        (b"\x0a\x05ab", "unexpected EOF"),
        (b"\x10\xff", "unexpected EOF"),
        (b"\x29" + b"1234567", "unexpected EOF"),
        (chunk(16, b"\x0a\x05ab") + b"abc", "unexpected EOF"),
        (chunk(16, b"\x10") + num(2, 1), "unexpected EOF"),
        (varint(99 << 3 | 1) + b"1234", "unexpected EOF"),
        (num(1, 5), "proto: wrong wireType = 0 for field name"),
        (chunk(2, b"x"), "proto: wrong wireType = 2 for field count"),
        (b"\x02\x00", "proto: illegal tag 0 (wire type 2)"),
        (varint(99 << 3 | 4), "proto: illegal wireType 4"),
        (varint(99 << 3 | 7), "proto: illegal wireType 7"),
        (b"\x10" + b"\xff" * 11, "proto: integer overflow"),
        (chunk(7, num(1, 1 << 60)), f"time {1 << 60} is out of range"),
    ],
)
def test_what_is_no_message_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        thing(raw)
    assert str(caught.value) == words


def test_embedded_json_that_is_none_is_refused() -> None:
    with pytest.raises(DecodeError, match="json: "):
        thing(chunk(11, chunk(1, b"{")))


def test_a_message_that_nests_without_end_is_refused() -> None:
    raw = b""
    for _ in range(5000):
        raw = chunk(16, raw)
    with pytest.raises(DecodeError, match="exceeded max depth"):
        thing(raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    try:
        found = thing(raw)
    except DecodeError:
        return
    assert json.dumps(found)


# ---- bodies


def test_a_body_tells_its_kind() -> None:
    meta = chunk(1, b"apps/v1") + chunk(2, b"Deployment")
    body = MAGIC + chunk(1, meta) + chunk(2, b"object") + chunk(3, b"") + chunk(4, b"")

    envelope = unwrap(body)

    assert (envelope.api_version, envelope.kind, envelope.raw) == ("apps/v1", "Deployment", b"object")


def test_a_body_may_say_nothing() -> None:
    envelope = unwrap(MAGIC)

    assert (envelope.api_version, envelope.kind, envelope.raw) == ("", "", b"")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty data"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (MAGIC + b"\x0a\x7f", "unexpected EOF"),
    ],
)
def test_what_is_no_body_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        unwrap(body)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("encoded", "tree"), KUBECTL, ids=[f"{i}-{tree['kind']}" for i, (_, tree) in enumerate(KUBECTL)]
)
def test_kubectl_sends_the_same_object_in_both_forms(encoded: str, tree: dict[str, Any]) -> None:
    """Bodies of kubectl 1.33, which speaks protobuf, and of 1.27, which spoke JSON, for the same commands."""
    envelope = unwrap(base64.b64decode(encoded))
    group, _, version = envelope.api_version.rpartition("/")
    name = SCHEMA.name_of(group, version, envelope.kind)
    assert name is not None

    found = API.message(name, envelope.raw)
    normal, _ = CODECS.codec(name).normalize(
        {**found, "kind": envelope.kind, "apiVersion": envelope.api_version}
    )

    assert normal == CODECS.codec(name).normalize(tree)[0]


# ---- writing


@pytest.mark.parametrize("tree", [tree for _, tree in VALUES])
def test_what_was_written_reads_the_same(tree: dict[str, Any]) -> None:
    written = ENCODER.message("t.Thing", tree)

    assert thing(written) == {name: value for name, value in tree.items() if value is not None}


def test_fields_are_written_in_the_order_of_their_numbers() -> None:
    tree = {"shared": "s", "count": -1, "name": "n", "labels": {"b": "2", "a": "1"}}

    assert ENCODER.message("t.Thing", tree) == (
        chunk(1, b"n")
        + num(2, -1)
        + chunk(14, chunk(1, b"a") + chunk(2, b"1"))
        + chunk(14, chunk(1, b"b") + chunk(2, b"2"))
        + chunk(18, chunk(1, b"s"))
    )


def test_a_field_without_a_number_is_left_out() -> None:
    assert ENCODER.message("t.Common", {"shared": "s", "other": 1}) == chunk(1, b"s")


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_number_and_text_is_read_as_it_was_written(size: int, name: str) -> None:
    tree = {"name": name, "size": size}

    assert thing(ENCODER.message("t.Thing", tree)) == tree


@pytest.mark.parametrize("tree", [tree for _, tree in KUBECTL])
def test_objects_read_as_they_were_written(tree: dict[str, Any]) -> None:
    group, _, version = tree["apiVersion"].rpartition("/")
    name = SCHEMA.name_of(group, version, tree["kind"])
    assert name is not None
    normal, _ = CODECS.codec(name).normalize(tree)

    found = API.message(name, Encoder(MESSAGES.fields).message(name, normal))

    type_meta = {"kind": tree["kind"], "apiVersion": tree["apiVersion"]}
    assert CODECS.codec(name).normalize({**found, **type_meta})[0] == normal


def test_a_body_is_wrapped() -> None:
    envelope = unwrap(wrap("v1", "Pod", b"raw"))

    assert (envelope.api_version, envelope.kind, envelope.raw) == ("v1", "Pod", b"raw")


def test_an_event_of_a_watch_is_framed() -> None:
    frame = watch_event(b"ADDED", b"body")

    assert struct.unpack(">I", frame[:4]) == (len(frame) - 4,)
    assert frame[4:] == chunk(1, b"ADDED") + chunk(2, chunk(1, b"body"))

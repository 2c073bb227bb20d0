from __future__ import annotations

import pytest

from tests.server.starting import SCHEME
from timonel.machinery.errors import BadRequest, UnsupportedMediaType
from timonel.server import protobuf
from timonel.server.protonumbers import NUMBERS

NOTHING = b""


def chunk(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def body(api_version: bytes, kind: bytes, obj: bytes) -> bytes:
    return protobuf.MAGIC + chunk(1, chunk(1, api_version) + chunk(2, kind)) + chunk(2, obj)


def read(raw: bytes, type_name: str) -> dict[str, object]:
    return protobuf.read(raw, type_name, SCHEME.schema.type)


def test_a_config_map_is_read() -> None:
    metadata = chunk(1, b"web") + chunk(11, chunk(1, b"app") + chunk(2, b"shop"))
    obj = (
        chunk(1, metadata)
        + chunk(2, chunk(1, b"k") + chunk(2, b"v"))
        + chunk(3, chunk(1, b"b") + chunk(2, b"\xff"))
    )

    assert read(body(b"v1", b"ConfigMap", obj + bytes([4 << 3, 1])), "core.v1.ConfigMap") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "labels": {"app": "shop"}},
        "data": {"k": "v"},
        "binaryData": {"b": "/w=="},
        "immutable": True,
    }


def test_numbers_times_and_choices_are_read() -> None:
    port = chunk(4, bytes([1 << 3, 1]) + chunk(3, b"http")) + bytes([3 << 3, 80])
    created = chunk(1, chunk(8, bytes([1 << 3, 60])))
    found = read(body(b"v1", b"Service", created + chunk(2, chunk(1, port))), "core.v1.Service")

    assert found["metadata"] == {"creationTimestamp": "1970-01-01T00:01:00Z"}
    assert found["spec"] == {"ports": [{"targetPort": "http", "port": 80}]}


def test_a_negative_number_is_read() -> None:
    minus_one = b"\xff" * 9 + b"\x01"
    found = read(body(b"v1", b"PriorityClass", bytes([2 << 3]) + minus_one), "scheduling.v1.PriorityClass")

    assert found["value"] == -1


def test_a_field_that_is_not_known_is_refused_and_not_dropped() -> None:
    with pytest.raises(UnsupportedMediaType, match=r"field 15 of core\.v1\.ConfigMap"):
        read(body(b"v1", b"ConfigMap", chunk(15, b"x")), "core.v1.ConfigMap")


@pytest.mark.parametrize(
    "raw",
    [
        NOTHING,
        b"{}",
        protobuf.MAGIC + b"\x12\x05ab",
        protobuf.MAGIC + b"\x12",
        body(b"v1", b"ConfigMap", b"\x0b"),
    ],
)
def test_what_is_no_such_body_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        read(raw, "core.v1.ConfigMap")


@pytest.mark.parametrize("type_name", sorted(set(NUMBERS) - {"networking.v1.IngressRuleValue"}))
def test_numbered_fields_are_fields_of_the_type(type_name: str) -> None:
    named = {name for name in protobuf.names_of(type_name).values() if not name.startswith("(")}

    assert named <= SCHEME.schema.type(type_name)["fields"].keys()

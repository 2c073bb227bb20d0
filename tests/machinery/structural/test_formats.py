from __future__ import annotations

import pytest

from timonel.machinery.structural.formats import known, validator

TABLE = {
    "date": (["2026-01-31", "2024-02-29"], ["2026-02-30", "2026-1-1", "today", "2026-01-01T00:00:00Z"]),
    "date-time": (
        ["2026-01-01T00:00:00Z", "2026-01-01t23:59:59.5+02:00"],
        ["2026-01-01", "2026-01-01T00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00", "T"],
    ),
    "duration": (["1h30m", "0", "-1.5s", "3 days", "22 ns"], ["", "h", "1 fortnight", "five"]),
    "ipv4": (["1.2.3.4"], ["::1", "1.2.3", "1.2.3.256"]),
    "ipv6": (["::1", "fe80::1"], ["1.2.3.4", "::g"]),
    "cidr": (["10.0.0.0/8", "fd00::/64", "10.0.0.1/8"], ["10.0.0.0", "10.0.0.0/33", "x/8"]),
    "mac": (["01:02:03:04:05:06", "01-02-03-04-05-06", "0102.0304.0506"], ["01:02:03", "01:02-03:04:05:06"]),
    "uri": (["https://a.b/c?d=e", "/path", "urn:x:y"], ["", "a/b", "://", "http://a\x00", "%zz"]),
    "email": (["a@b.c", "A B <a@b.c>"], ["a", "@b", "a@"]),
    "hostname": (["a", "a-b", "example.com", "1.example.org"], ["", "-a", "a..b", "a_b", "a" * 64 + ".com"]),
    "uuid": (["11111111-2222-3333-4444-555555555555", "1" * 32], ["", "1111", "g" * 32]),
    "uuid4": (["11111111-2222-4333-8444-555555555555"], ["11111111-2222-3333-4444-555555555555"]),
    "isbn": (["0321751043", "978-0321751041"], ["0321751044", "1"]),
    "isbn10": (["0321751043"], ["978-0321751041"]),
    "creditcard": (["4111 1111 1111 1111"], ["4111 1111 1111 1112", "1234"]),
    "ssn": (["111-22-3333", "111223333"], ["11-22-3333"]),
    "hexcolor": (["#FFFFFF", "abc"], ["#FFFF", "red"]),
    "rgbcolor": (["rgb(1, 2, 255)"], ["rgb(256,0,0)", "rgb(1,2)"]),
    "byte": (["YQ=="], ["", "YQ", "Y Q=="]),
    "password": (["", "anything"], []),
    "quantity": (["10Gi", "1.5", "100m"], ["x", "10GiB"]),
    "bsonobjectid": (["507f1f77bcf86cd799439011"], ["507f1f77"]),
    "k8s-short-name": (["a-b"], ["A", "a.b"]),
    "k8s-long-name": (["a.b"], ["A", "a..b"]),
}


@pytest.mark.parametrize("name", TABLE)
def test_texts_of_a_format(name: str) -> None:
    rule = validator(name)
    good, bad = TABLE[name]

    assert rule is not None
    assert {text: rule(text) for text in (*good, *bad)} == dict.fromkeys(good, True) | dict.fromkeys(
        bad, False
    )


@pytest.mark.parametrize(
    ("name", "types", "counts"),
    [
        ("date-time", ("string",), True),
        ("datetime", (), True),
        ("int32", ("integer",), True),
        ("int32", ("string",), False),
        ("float", ("number",), True),
        ("date", ("integer",), False),
        ("date", ("array",), False),
        ("of-my-own", ("string",), False),
        ("date", ("integer", "string"), True),
    ],
)
def test_a_format_counts_for_values_of_its_type(name: str, types: tuple[str, ...], counts: bool) -> None:
    assert known(name, types) == (name if counts else "")

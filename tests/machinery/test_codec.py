"""Decoding by type. The small types here stand for all; `tests/schema` holds the real ones against recorded answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.machinery.codec import Codecs, DecodeError, encode
from timonel.machinery.patch.merge import merge_patch

TYPES: dict[str, dict[str, Any]] = {
    "t.v1.Thing": {
        "fields": {
            "kind": {"t": "string"},
            "metadata": {"t": "ref", "ref": "t.v1.Meta", "emit": 1},
            "count": {"t": "int32"},
            "limit": {"t": "int32", "ptr": 1},
            "ready": {"t": "boolean", "req": 1, "emit": 1},
            "on": {"t": "boolean", "ptr": 1},
            "names": {"t": "list", "of": {"t": "string"}},
            "must": {"t": "list", "of": {"t": "string"}, "req": 1, "emit": 1},
            "parts": {"t": "list", "of": {"t": "ref", "ref": "t.v1.Part"}},
            "extra": {"t": "ref", "ref": "t.v1.Part", "ptr": 1},
            "cpu": {"t": "quantity", "ptr": 1},
            "limits": {"t": "map", "of": {"t": "quantity"}},
            "data": {"t": "map", "of": {"t": "bytes"}},
            "when": {"t": "time", "ptr": 1},
            "since": {"t": "time", "emit": 1},
            "exact": {"t": "microtime", "ptr": 1},
            "port": {"t": "intstr", "ptr": 1},
            "share": {"t": "number"},
            "raw": {"t": "raw"},
            "big": {"t": "int64"},
        }
    },
    "t.v1.Meta": {"fields": {"name": {"t": "string"}, "labels": {"t": "map", "of": {"t": "string"}}}},
    "t.v1.Part": {
        "fields": {
            "id": {"t": "string", "req": 1, "emit": 1},
            "sub": {"t": "list", "of": {"t": "ref", "ref": "t.v1.Part"}},
        }
    },
}  # fmt: skip
ALWAYS = {"metadata": {}, "ready": False, "must": None, "since": None}
CODEC = Codecs(TYPES.__getitem__).codec("t.v1.Thing")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, {}),
        ({"count": 0}, {}),
        ({"count": 3}, {"count": 3}),
        ({"limit": 0}, {"limit": 0}),
        ({"limit": None}, {}),
        ({"on": False}, {"on": False}),
        ({"names": []}, {}),
        ({"names": ["a", None]}, {"names": ["a", ""]}),
        ({"must": []}, {"must": []}),
        ({"must": ["x"]}, {"must": ["x"]}),
        ({"extra": {}}, {"extra": {"id": ""}}),
        ({"parts": [None, {"id": "x"}]}, {"parts": [{"id": ""}, {"id": "x"}]}),
        ({"metadata": {"labels": {}}}, {"metadata": {}}),
        ({"metadata": {"labels": {"a": None}}}, {"metadata": {"labels": {"a": ""}}}),
        ({"cpu": "1000m"}, {"cpu": "1"}),
        ({"cpu": 0.1}, {"cpu": "100m"}),
        ({"limits": {"memory": "1024Mi"}}, {"limits": {"memory": "1Gi"}}),
        ({"data": {"k": "aGk=\n", "e": ""}}, {"data": {"k": "aGk=", "e": ""}}),
        ({"when": "2026-01-01T01:00:00+01:00"}, {"when": "2026-01-01T00:00:00Z"}),
        ({"when": "2026-01-01T00:00:00.9Z"}, {"when": "2026-01-01T00:00:00Z"}),
        ({"exact": "2026-01-01T00:00:00.123456Z"}, {"exact": "2026-01-01T00:00:00.123456Z"}),
        ({"port": 80}, {"port": 80}),
        ({"port": "http"}, {"port": "http"}),
        ({"share": 2.0}, {"share": 2}),
        ({"raw": {"a": [None]}}, {"raw": {"a": [None]}}),
    ],
)
def test_a_tree_becomes_what_a_round_trip_would_give_back(sent: Any, kept: dict[str, Any]) -> None:
    found, problems = CODEC.normalize(sent)

    assert found == {**ALWAYS, **kept}
    assert problems == []


def test_unknown_fields_are_dropped_and_told_in_the_order_of_the_document() -> None:
    sent = {"z": 1, "metadata": {"nme": "x"}, "parts": [{"sub": [{}, {"q": 1}]}], "Count": 2}

    found, problems = CODEC.normalize(sent)

    assert found == {**ALWAYS, "parts": [{"id": "", "sub": [{"id": ""}, {"id": ""}]}]}
    assert problems == [
        'unknown field "z"',
        'unknown field "metadata.nme"',
        'unknown field "parts[0].sub[1].q"',
        'unknown field "Count"',
    ]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([], "json: cannot unmarshal array into Go value of type v1.Thing"),
        ({"count": "3"}, "json: cannot unmarshal string into Go struct field Thing.count of type int32"),
        ({"count": 1.5}, "json: cannot unmarshal number 1.5 into Go struct field Thing.count of type int32"),
        (
            {"count": 2**31},
            "json: cannot unmarshal number 2147483648 into Go struct field Thing.count of type int32",
        ),
        ({"count": True}, "json: cannot unmarshal bool into Go struct field Thing.count of type int32"),
        ({"big": 2**63}, "number 9223372036854775808 into Go struct field Thing.big of type int64"),
        ({"ready": "yes"}, "json: cannot unmarshal string into Go struct field Thing.ready of type bool"),
        ({"names": {}}, "json: cannot unmarshal object into Go struct field Thing.names of type []string"),
        ({"names": [1]}, "json: cannot unmarshal number into Go struct field Thing.names of type string"),
        (
            {"metadata": []},
            "json: cannot unmarshal array into Go struct field Thing.metadata of type v1.Meta",
        ),
        ({"metadata": {"labels": {"a": 1}}}, "into Go struct field Meta.metadata.labels of type string"),
        ({"parts": [{"sub": [{"id": 1}]}]}, "into Go struct field Part.parts.sub.id of type string"),
        ({"cpu": "x"}, "quantities must match the regular expression"),
        ({"when": ""}, 'parsing time "" as "2006-01-02T15:04:05Z07:00"'),
        ({"when": "2026-02-30T00:00:00Z"}, "parsing time"),
        ({"exact": "2026-01-01T00:00:00Z"}, "parsing time"),
        ({"data": {"k": "a*b"}}, "illegal base64 data at input byte 1"),
        ({"port": 1.5}, "json: cannot unmarshal number into Go struct field Thing.port"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_the_words_of_gos_decoder(sent: Any, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.normalize(sent)

    assert message in str(caught.value)


def test_a_new_object_has_what_is_always_written() -> None:
    assert CODEC.new() == ALWAYS


def test_an_empty_list_that_is_always_written_is_null_once_it_is_stored() -> None:
    found, _ = CODEC.normalize({"must": [], "parts": [{"id": "x", "sub": []}]})

    CODEC.settle(found)

    assert found == {**ALWAYS, "must": None, "parts": [{"id": "x"}]}


def test_what_is_sent_is_not_changed() -> None:
    sent = {"metadata": {"labels": {"a": None}}, "cpu": 1}

    CODEC.normalize(sent)

    assert sent == {"metadata": {"labels": {"a": None}}, "cpu": 1}


def test_bytes_begin_with_kind_and_version() -> None:
    body = encode({"spec": 1, "metadata": {"name": "a"}, "apiVersion": "v1", "kind": "Pod"})

    assert body == b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":1}'


parts = st.recursive(
    st.fixed_dictionaries({}, optional={"id": st.text()}),
    lambda inner: st.fixed_dictionaries({}, optional={"id": st.text(), "sub": st.lists(inner, max_size=2)}),
    max_leaves=5,
)
things = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(-5, 5),
        "limit": st.none() | st.integers(-5, 5),
        "names": st.lists(st.text(), max_size=3),
        "parts": st.lists(parts, max_size=3),
        "limits": st.dictionaries(st.text(), st.sampled_from(["1", "500m", "2Gi", "0"]), max_size=2),
        "unknown": st.integers(),
    },
)


@given(things)
def test_a_second_trip_changes_nothing(thing: dict[str, Any]) -> None:
    once, _ = CODEC.normalize(thing)

    twice, problems = CODEC.normalize(once)

    assert twice == once
    assert problems == []


PATCHES: tuple[dict[str, Any], ...] = (
    {},
    {"metadata": {"labels": {"a": "2", "b": None}}},
    {"metadata": {"labels": None, "nowhere": 1}},
    {"extra": {"id": "", "sub": [{"id": "x", "what": 1}]}},
    {"extra": None, "count": 0, "limit": 0, "names": []},
    {"limits": {"cpu": "1000m"}, "when": "2026-01-01T02:00:00+02:00", "unknown": {}},
    {"parts": [{"id": "new"}], "raw": {"any": None}, "since": None, "must": None},
)


@pytest.mark.parametrize("patch", PATCHES)
def test_what_a_patch_leaves_alone_may_be_taken_over(patch: dict[str, Any]) -> None:
    old, _ = CODEC.normalize(
        {
            "metadata": {"name": "n", "labels": {"a": "1", "b": "1"}},
            "count": 3,
            "names": ["x"],
            "parts": [{"id": "a"}],
            "extra": {"id": "e", "sub": [{"id": "f"}]},
            "limits": {"cpu": "1", "memory": "1Gi"},
            "raw": {"free": 1.5},
        }
    )
    new = merge_patch(old, patch)
    assert CODEC.normalize(new, beside=old) == CODEC.normalize(new)


def test_of_a_list_only_new_items_are_looked_at() -> None:
    old, _ = CODEC.normalize({"parts": [{"id": "a"}, {"id": "b"}]})
    new = {**old, "parts": [*old["parts"], {"id": "c", "nowhere": 1}, None]}

    found = CODEC.normalize(new, beside=old)

    assert found == CODEC.normalize(new)
    assert found[0]["parts"][0] is old["parts"][0]


@pytest.mark.parametrize("patch", [{"metadata": []}, {"count": "3"}, {"extra": {"id": 1}}, {"parts": {}}])
def test_what_a_patch_brings_is_checked_beside_what_it_leaves(patch: dict[str, Any]) -> None:
    old, _ = CODEC.normalize({"metadata": {"name": "n"}, "extra": {"id": "e"}})
    new = merge_patch(old, patch)
    with pytest.raises(DecodeError) as beside:
        CODEC.normalize(new, beside=old)
    with pytest.raises(DecodeError) as whole:
        CODEC.normalize(new)
    assert str(beside.value) == str(whole.value)

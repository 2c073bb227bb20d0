"""Types from structural schemas, and the values that rules see through them."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.cel import CompileError, Environment, EvaluationError, types
from timonel.machinery.cel.declared import escape, unescape

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 3},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "port": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "every": {"type": "string", "format": "duration"},
        "blob": {"type": "string", "format": "byte"},
        "a.b": {"type": "integer"},
        "x-y/z": {"type": "integer"},
        "in": {"type": "integer"},
        "namespace": {"type": "string"},
        "a__b": {"type": "integer"},
        "9lives": {"type": "integer"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "anything": {"x-kubernetes-preserve-unknown-fields": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "tree": {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object"}},
        },
        "ratios": {"type": "array", "items": {"type": "number"}},
    },
}
TREE = {
    "name": "abc",
    "ratio": 1,
    "port": "http",
    "when": "2026-01-02T03:04:05Z",
    "every": "90s",
    "blob": "QUI=",
    "a.b": 1,
    "x-y/z": 2,
    "in": 3,
    "namespace": "n",
    "a__b": 4,
    "labels": {"k": "v"},
    "tree": {"kind": "Pod", "metadata": {"name": "p"}},
    "ratios": [1, 2],
}


def check(rule: str) -> Any:
    of = types.of_schema(SCHEMA)
    assert of is not None
    return Environment({"self": of}).compile(rule).evaluate({"self": TREE})


@pytest.mark.parametrize(
    "rule",
    [
        "self.ratio / 2.0 == 0.5 && type(self.ratio) == double",
        "self.ratios.all(r, type(r) == double) && self.ratios[0] / 2.0 == 0.5 && self.ratios.sum() == 3.0",
        "type(self.port) == string && self.port == 'http'",
        "self.when.getFullYear() == 2026 && self.when + duration('1h') > self.when",
        "self.every == duration('1m30s') && self.every.getSeconds() == 90",
        "self.blob == b'AB' && size(self.blob) == 2",
        "self.a__dot__b == 1 && self.x__dash__y__slash__z == 2 && self.__in__ == 3 && self.a__underscores__b == 4",
        "self.__namespace__ == 'n' && self.namespace == 'n' && has(self.a__dot__b)",
        "self.labels.k == 'v' && self.labels['k'] == 'v' && !('z' in self.labels) && has(self.labels.k)",
        "self.?when.value().getFullYear() == 2026 && self.?blob.value() == b'AB'",
        "self.?ratio.orValue(0.0) / 2.0 == 0.5",
        "self.ratios[?0].value() / 2.0 == 0.5 && self.?ratios[?1].value() / 4.0 == 0.5 && !self.ratios[?9].hasValue()",
        "optional.of(self).when.value() > timestamp('2025-01-01T00:00:00Z') && has(optional.of(self).a__dot__b)",
        "self.?every.optMap(d, d.getSeconds()).orValue(0) == 90 && self.ratios.map(r, r / 2.0) == [0.5, 1.0]",
        "dyn(self.when) == self.when && [self.when][0] == self.when && {'k': self.when}.k.getMonth() == 0",
        "self.tree.kind == 'Pod' && self.tree.metadata.name == 'p' && !has(self.tree.metadata.generateName)",
        "has(self.name) && !has(self.count) && self.?count.orValue(7) == 7 && self.?a__dot__b.value() == 1",
    ],
)
def test_a_rule_sees_values_as_the_schema_says(rule: str) -> None:
    assert check(rule) is True


@pytest.mark.parametrize(
    "rule", ["self.anything == 1", "self.open.x == 1", "self.9lives == 1", "self.kind == ''"]
)
def test_what_the_schema_does_not_declare_is_out_of_reach(rule: str) -> None:
    with pytest.raises(CompileError):
        check(rule)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("3 days", 259200), ("1 week 2 hours", 612000), ("-2 min", -120), ("1h", 3600)],
)
def test_a_duration_may_be_written_in_words(text: str, seconds: int) -> None:
    of = types.of_schema({"type": "string", "format": "duration"})
    assert of is not None

    assert Environment({"self": of}).compile("self.getSeconds()").evaluate({"self": text}) == seconds


@pytest.mark.parametrize(
    "rule", ["!has(self.n)", "!self.?n.hasValue()", "!has(self.p)", "self.?s.orValue('x') == 'x'"]
)
def test_a_declared_field_that_is_null_counts_as_absent(rule: str) -> None:
    of = types.of_schema(
        {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "nullable": True},
                "p": {"x-kubernetes-int-or-string": True, "nullable": True},
                "s": {"type": "string", "nullable": True},
            },
        }
    )
    assert of is not None
    environment = Environment({"self": of})

    assert environment.compile(rule).evaluate({"self": {"n": None, "p": None, "s": None}}) is True
    assert environment.compile("has(self.n) && self.n == 1").evaluate({"self": {"n": 1}}) is True
    with pytest.raises(EvaluationError, match="no such key: n"):
        environment.compile("self.n == 1").evaluate({"self": {"n": None}})


def test_the_root_of_a_resource_has_its_meta_fields() -> None:
    of = types.of_schema({"type": "object", "properties": {"spec": {"type": "object"}}}, root=True)
    assert of is not None
    program = Environment({"self": of}).compile(
        "self.metadata.name == 'a' && self.kind == 'K' && has(self.spec)"
    )

    assert program.evaluate({"self": {"kind": "K", "metadata": {"name": "a"}, "spec": {}}}) is True


@pytest.mark.parametrize(
    ("schema", "most", "least"),
    [
        ({"type": "string"}, 3145726, 2),
        ({"type": "string", "maxLength": 5}, 20, 2),
        ({"type": "string", "enum": ["a", "abc"]}, 3, 2),
        ({"type": "string", "format": "date-time"}, 32, 21),
        ({"type": "string", "format": "byte", "maxLength": 5}, 5, 2),
        ({"type": "array", "items": {"type": "boolean"}}, 629145, 2),
        ({"type": "array", "maxItems": 4, "items": {"type": "boolean"}}, 4, 2),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, 449389, 2),
        ({"type": "object", "required": ["ab"], "properties": {"ab": {"type": "string"}}}, 0, 10),
        ({"x-kubernetes-int-or-string": True}, 3145726, 1),
    ],
)
def test_sizes_come_from_limits_or_from_what_a_request_can_hold(
    schema: dict[str, Any], most: int, least: int
) -> None:
    of = types.of_schema(schema)
    assert of is not None
    assert (of.max_elements, of.min_size) == (most, least)


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, {"type": "array", "items": {}}, {"type": "null"}])
def test_what_has_no_type_is_no_value(schema: dict[str, Any]) -> None:
    assert types.of_schema(schema) is None


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("plain", "plain"),
        ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
        ("a__b", "a__underscores__b"),
        ("true", "__true__"),
        ("int", "int"),
        ("-a", "__dash__a"),
        ("9", None),
        ("a b", None),
        ("", None),
        ("é", None),
    ],
)
def test_names_are_escaped_and_back(name: str, identifier: str | None) -> None:
    assert escape(name) == identifier
    if identifier is not None:
        assert unescape(identifier) == name


def test_a_type_prints_as_upstream_prints_it() -> None:
    of = types.map_of(types.STRING, types.list_of(types.optional_of(types.TIMESTAMP)))

    assert types.display(of) == "map(string, list(optional_type(timestamp)))"
    assert str(of) == "map(string, list(optional_type(google.protobuf.Timestamp)))"
    assert types.list_of(types.INT, max_elements=3) == types.list_of(types.INT)

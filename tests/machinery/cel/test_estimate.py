"""The most that evaluation can cost, from the sizes that schemas allow (apiextensions' compilation_test.go)."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.cel import MUTATION, Environment, types
from timonel.machinery.cel.library import authz


def scalar(of: str, limit: int | None = None) -> dict[str, Any]:
    if of == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    if of in ("date", "date-time", "duration", "byte"):
        return sized({"type": "string", "format": of}, "maxLength", limit if of == "byte" else None)
    return sized({"type": of}, "maxLength", limit if of == "string" else None)


def sized(schema: dict[str, Any], key: str, limit: int | None) -> dict[str, Any]:
    return schema if limit is None else {**schema, key: limit}


def array(items: dict[str, Any], limit: int | None) -> dict[str, Any]:
    return sized({"type": "array", "items": items}, "maxItems", limit)


def mapping(value: dict[str, Any], limit: int | None) -> dict[str, Any]:
    return sized({"type": "object", "additionalProperties": value}, "maxProperties", limit)


def most(schema: dict[str, Any], rule: str) -> int:
    of = types.of_schema(schema)
    assert of is not None
    program = Environment({"self": of, "oldSelf": of}).compile(rule, returns=(types.BOOL,))
    return int(program.estimate().max)


# The schema's kind, the rule, the estimate without a limit, the limit, the estimate with it.
ROWS = [
    (lambda n: scalar("string", n), 'self == "x"', 2, 0, 1),
    (lambda n: scalar("byte", n), 'self == b"x"', 2, 0, 1),
    (lambda n: mapping(scalar("number"), n), 'self["x"] == 0.0', 2, 0, 2),
    (lambda n: array(scalar("number"), n), "self.all(x, x == 0.0)", 6291454, 3 * 1024 * 2048, 25165826),
    (lambda n: array(scalar("int-or-string"), n), "self.all(x, true)", 4718591, 10, 32),
    (lambda n: array(scalar("int-or-string"), n), "self[0] == 5", 3, 10, 3),
    (lambda n: array(scalar("boolean"), n), "self[0] == false", 2, 25, 2),
    (lambda n: array(array(scalar("number"), n), n), "self[0][0] == -1.0", 3, 51, 3),
    (lambda n: array(mapping(scalar("number"), n), n), "self.all(x, x.y == 25.2)", 6291452, 12, 74),
    (lambda n: array(mapping(scalar("number"), n), n), "self[0].x > 2.0", 4, 3000, 4),
    (lambda n: array(scalar("duration"), n), "self.all(x, true)", 2359295, 5, 17),
    (lambda n: array(scalar("duration"), n), "self[0].getHours() == 2", 4, 525, 4),
    (lambda n: array(scalar("date"), n), "self.all(x, true)", 725936, 15, 47),
    (lambda n: array(scalar("date-time"), n), "self.all(x, true)", 428963, 25, 77),
    (lambda n: array(scalar("date-time"), n), "self[2].getMinutes() == 45", 4, 99, 4),
    (lambda n: mapping(scalar("int-or-string"), n), "self.all(x, true)", 1348169, 15, 47),
    (lambda n: mapping(scalar("int-or-string"), n), "has(self.x)", 1, 5000, 1),
    (lambda n: mapping(mapping(scalar("number"), n), n), "self.all(x, true)", 1179647, 10, 32),
    (lambda n: mapping(array(scalar("number"), n), n), "self.all(x, true)", 1179647, 25, 77),
    (lambda n: mapping(scalar("duration"), n), "self.all(x, true)", 1048577, 5, 17),
    (lambda n: mapping(scalar("date"), n), "self.all(x, true)", 524288, 10, 32),
    (lambda n: mapping(scalar("date-time"), n), "self.all(x, true)", 349526, 25, 77),
    (lambda n: scalar("string", n), "self.find('[0-9]+') == ''", 629147, 10, 11),
    (lambda n: array(scalar("string", n), n), "self.join(' ') == 'aa bb'", 329853068905, 10, 43),
    (lambda n: array(scalar("string", n), n), "self.isSorted() == true", 329854432052, 10, 52),
    (
        lambda n: {
            "type": "object",
            "properties": {
                "str": scalar("string", n),
                "before": scalar("string", 2),
                "after": scalar("string", 4),
            },
        },
        "self.str.replace(self.before, self.after) == 'does not matter'",
        629154,
        4,
        12,
    ),
    (
        lambda n: {"type": "object", "properties": dict.fromkeys(("str", "separator"), scalar("string", n))},
        "self.str.split(self.separator) == []",
        629160,
        10,
        22,
    ),
    (lambda n: scalar("string", n), "self.lowerAscii() == 'lower!'", 314575, 10, 6),
    (lambda n: mapping(scalar("integer"), n), "oldSelf.size() == self.size()", 5, 10, 5),
    (lambda n: mapping(scalar("date-time"), n), 'self["a"] == self["b"]', 8, 7, 8),
    (lambda n: mapping(scalar("duration"), n), 'self["c"] == self["d"]', 8, 42, 8),
    (
        lambda n: sized({"type": "string", "enum": ["A", "B", "C", "LongValue"]}, "maxLength", n),
        "self.contains('A')",
        2,
        1000,
        401,
    ),
]


@pytest.mark.parametrize(("schema", "rule", "unbounded", "limit", "bounded"), ROWS)
def test_an_estimate_is_upstreams(schema: Any, rule: str, unbounded: int, limit: int, bounded: int) -> None:
    assert most(schema(None), rule) == unbounded
    assert most(schema(limit), rule) == bounded


def test_the_estimate_is_never_below_what_evaluation_takes() -> None:
    schema = array({"type": "object", "properties": {"name": scalar("string", 5)}}, 3)
    of = types.of_schema(schema)
    assert of is not None
    tree = [{"name": "abcde"}] * 3
    for rule in (
        "self.all(x, x.name == 'abcde')",
        "self.exists(x, x.name.matches('^z+$')) || true",
        "self.map(x, x.name).filter(n, n != '').size() == 3",
        "self.exists_one(x, x.name.contains('q')) == false",
    ):
        program = Environment({"self": of}).compile(rule)
        assert program.estimate().min <= program.cost({"self": tree}) <= program.estimate().max


def test_the_most_that_a_schema_can_ask_for_does_not_overflow() -> None:
    schema = array(array(array(scalar("string"), None), None), None)

    assert most(schema, "self.all(a, a.all(b, b.all(c, c.contains(c))))") == 2**64 - 1


# Library functions on literals: the estimate, and what evaluation takes (literal lists are free then).
LITERALS = [
    ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 7, 9, 9),
    ("strings.quote('ABCDEFGHIJ abcdefghij') == strings.quote('ABCDEFGHIJ abcdefghij')", 7, 11, 9),
    ("'abc 123 def 123'.replace('', 'x')", 3, 3, 3),
    ("'abc 123 def 123'.split(' ', 1)", 3, 3, 3),
    ("'abc 123 def 123'.findAll('123', 1)", 2, 2, 2),
    ("'01234567890123456789012345678901234567890123456789'.indexOf('123')", 5, 5, 5),
    ("[1, 2, 3, 4, 5].sum()", 15, 15, 5),
    ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29, 9),
    ("quantity('200M') == quantity('0.2G') && quantity('0.2G') == quantity('200M')", 3, 6, 6),
    ("quantity('50k').add(20).sub(quantity('100k')).sub(-50000).asInteger() > 0", 7, 7, 7),
    ("quantity('50.703k').asApproximateFloat() > 0.0", 3, 3, 3),
    ("format.named('dns1123Subdomain').value().validate('my-name')", 34, 34, 17),
    ("format.named('dns1123Label').value().validate('my-name')", 34, 34, 10),
    ("format.named('dns1123Label').value() == format.named('dns1123Label').value()", 5, 11, 5),
    ("url('https://kubernetes.io/').getHost()", 4, 4, 4),
    ("ip('192.168.0.1') == ip('192.168.0.1')", 5, 5, 5),
    ("ip.isCanonical('2001:db8:3333:4444:5555:6666:7777:8888')", 8, 8, 8),
    ("cidr('192.168.0.0/16').containsCIDR(cidr('192.0.0.0/30'))", 7, 11, 7),
    ("cidr('192.168.0.0/16').containsIP('192.169.0.1')", 5, 8, 5),
    ("cidr('192.168.0.0/16').masked()", 3, 3, 3),
    ("jsonpatch.escapeKey('abc/def~ abc/def~')", 2, 2, 2),
    (
        "authorizer.group('').resource('pods').labelSelector('a=b').check('get').allowed()",
        350115,
        350115,
        350115,
    ),
    ("authorizer.path('/healthz').check('get').allowed()", 350003, 350003, 350003),
]


@pytest.mark.parametrize(("text", "least", "most", "cost"), LITERALS)
def test_a_library_function_costs_what_it_costs_upstream(text: str, least: int, most: int, cost: int) -> None:
    program = Environment({"authorizer": authz.AUTHORIZER}, libraries=MUTATION).compile(text)
    estimate = program.estimate()

    assert (estimate.min, estimate.max) == (least, most)
    assert program.cost({"authorizer": authz.AuthorizerValue(lambda question: authz.Answer(True))}) == cost

"""What evaluation costs: figures that upstream keeps stable (apiextensions' celcoststability_test.go)."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.cel import Budget, CostExceeded, Environment, EvaluationError, types

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
LIST_MAP = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["k"],
    "items": {"type": "object", "properties": {"k": STRING, "v": STRING, "v2": STRING}},
}


def fields(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {f"val{index}": one for index, one in enumerate(schemas, 1)}}


def values(*trees: Any) -> dict[str, Any]:
    return {f"val{index}": tree for index, tree in enumerate(trees, 1)}


TEXTS = (fields(STRING, STRING), values("Rook takes 👑", "Rook takes 👑"))
INTS = (fields(INTEGER, INTEGER), values(2**63 - 1, 2**63 - 1))
MIXED = (fields(INTEGER, NUMBER, NUMBER), values(5, 10.0, 10))
BYTES = (fields({"type": "string", "format": "byte"}), values("QUI="))
DURATION = (fields({"type": "string", "format": "duration"}), values("1h2m3s4ms"))
DATE = (fields({"type": "string", "format": "date"}), values("1997-07-16"))
MOMENT = (fields({"type": "string", "format": "date-time"}), values("2011-08-18T19:03:37.010000000+01:00"))
ENUM = (fields({"type": "string", "enum": ["Pending", "Bound"]}), values("Pending"))
LISTS = (
    fields({"type": "array", "items": INTEGER}, {"type": "array", "items": INTEGER}),
    values([1, 2, 3], [1, 2, 3]),
)
SETS = (
    fields(*2 * ({"type": "array", "x-kubernetes-list-type": "set", "items": STRING},)),
    values(["a", "b", "c"], ["a", "c", "b"]),
)
MAPS = (fields({"type": "object", "additionalProperties": STRING}), values({"k1": "a", "k2": "b"}))
MAP = (fields({"type": "object", "additionalProperties": INTEGER}), values({"b": 1, "d": 2}))
LIST_MAPS = (
    {"type": "object", "properties": {"objs": {"type": "array", "items": LIST_MAP}}},
    {
        "objs": [
            [{"k": "a", "v": "1"}, {"k": "b", "v": "2"}],
            [{"k": "b", "v": "2"}, {"k": "a", "v": "1"}],
            [{"k": "b", "v": "3"}, {"k": "a", "v": "1"}],
            [{"k": "c", "v": "4"}],
        ]
    },
)
ENTRIES = (
    {"type": "object", "properties": {"listMap": LIST_MAP}},
    {"listMap": [{"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "v2": "z"}]},
)
EIGHT = (
    {"type": "object", "properties": {"array": {"type": "array", "items": INTEGER}}},
    {"array": [1, 1, 2, 2, 3, 3, 4, 5]},
)
PERCENT = (fields({"x-kubernetes-int-or-string": True}), values("25%"))

ROWS = [
    (INTS, "self.val1 == self.val2", 5),
    (INTS, "type(self.val1) == int", 4),
    (MIXED, "double(self.val1) < self.val2", 6),
    (MIXED, "self.val1 < int(self.val2)", 6),
    (MIXED, "double(5) < 10.0", 1),
    (MIXED, "double(self.val1) < 10.0", 4),
    (MIXED, "type(self.val3) == double", 4),
    (MIXED, "self.val3 == 10.0", 3),
    (TEXTS, "self.val1.startsWith('Rook')", 4),
    (TEXTS, "!self.val1.startsWith('knight')", 5),
    (TEXTS, "self.val1.matches('^[^0-9]*$')", 8),
    (TEXTS, "!self.val1.matches('^[0-9]*$')", 7),
    (TEXTS, "type(self.val1) == string", 4),
    (TEXTS, "size(self.val1) == 12", 4),
    (TEXTS, "self.val1.charAt(3) == 'k'", 4),
    (TEXTS, "self.val1.indexOf('o') == 1", 4),
    (TEXTS, "self.val1.indexOf('o', 2) == 2", 4),
    (TEXTS, "self.val1.replace(' ', 'x') == 'Rookxtakesx👑'", 7),
    (TEXTS, "self.val1.replace(' ', 'x', 1) == 'Rookxtakes 👑'", 7),
    (TEXTS, "self.val1.split(' ') == ['Rook', 'takes', '👑']", 6),
    (TEXTS, "self.val1.split(' ', 2) == ['Rook', 'takes 👑']", 6),
    (TEXTS, "self.val1.substring(5) == 'takes 👑'", 5),
    (TEXTS, "self.val1.substring(0, 4) == 'Rook'", 5),
    (TEXTS, "self.val1.substring(4, 10).trim() == 'takes'", 6),
    (TEXTS, "self.val1.upperAscii() == 'ROOK TAKES 👑'", 6),
    (TEXTS, "self.val1.lowerAscii() == 'rook takes 👑'", 6),
    (BYTES, "self.val1 == b'AB'", 3),
    (BYTES, "type(self.val1) == bytes", 4),
    (BYTES, "size(self.val1) == 2", 4),
    (DURATION, "self.val1 == duration('1h2m') + duration('3s4ms')", 4),
    (DURATION, "self.val1.getHours() == 1", 4),
    (DURATION, "type(self.val1) == google.protobuf.Duration", 4),
    (DATE, "self.val1.getDate() == 16", 4),
    (DATE, "self.val1 == timestamp('1997-07-16T00:00:00.000Z')", 3),
    (MOMENT, "self.val1 == timestamp('2011-08-18T00:00:00.000+01:00') + duration('19h3m37s10ms')", 4),
    (MOMENT, "self.val1.getDate('01:00') == 18", 4),
    (MOMENT, "type(self.val1) == google.protobuf.Timestamp", 4),
    (ENUM, "self.val1 == 'Pending'", 3),
    (ENUM, "self.val1 in ['Pending', 'Bound']", 2),
    (LISTS, "1 in self.val1", 5),
    (LISTS, "self.val2[0] in self.val1", 8),
    (LISTS, "!(0 in self.val1)", 6),
    (LISTS, "self.val1 + self.val2 == [1, 2, 3, 1, 2, 3]", 6),
    (LISTS, "self.val1 + [4, 5] == [1, 2, 3, 4, 5]", 4),
    (SETS, "self.val1 == ['c', 'b', 'a']", 3),
    (SETS, "self.val1 == self.val2", 5),
    (SETS, "'a' in self.val1", 5),
    (SETS, "self.val2[0] in self.val1", 8),
    (SETS, "!('x' in self.val1)", 6),
    (SETS, "self.val1 + self.val2 == ['a', 'b', 'c']", 6),
    (SETS, "self.val1 + ['c', 'd'] == ['a', 'b', 'c', 'd']", 4),
    (LIST_MAPS, "self.objs[0] == self.objs[1]", 7),
    (LIST_MAPS, "self.objs[0] + self.objs[2] == self.objs[2]", 11),
    (LIST_MAPS, "self.objs[2] + self.objs[0] == self.objs[0]", 11),
    (LIST_MAPS, "self.objs[0] == [self.objs[0][0], self.objs[0][1]]", 22),
    (LIST_MAPS, "self.objs[0] == [self.objs[0][1], self.objs[0][0]]", 22),
    (LIST_MAPS, "self.objs[2] + [self.objs[0][0], self.objs[0][1]] == self.objs[0]", 26),
    (LIST_MAPS, "size(self.objs[0] + [self.objs[3][0]]) == 3", 20),
    (MAPS, "'k1' in self.val1", 3),
    (MAPS, "!('k3' in self.val1)", 4),
    (MAPS, "self.val1 == {'k1': 'a', 'k2': 'b'}", 3),
    (MAP, "!has(self.val1.a)", 3),
    (MAP, "has(self.val1.b)", 2),
    (MAP, "self.val1.all(k, self.val1[k] > 0)", 17),
    (MAP, "self.val1.exists_one(k, self.val1[k] == 2)", 14),
    (MAP, "!self.val1.exists_one(k, self.val1[k] > 0)", 17),
    (MAP, "size(self.val1) == 2", 4),
    (MAP, "size(self.val1.filter(k, self.val1[k] > 1)) == 1", 26),
    (ENTRIES, "has(self.listMap[0].v)", 3),
    (ENTRIES, "self.listMap.all(m, m.k.startsWith('a'))", 21),
    (ENTRIES, "self.listMap.all(m, !has(m.v2) || m.v2 == 'z')", 21),
    (ENTRIES, "self.listMap.exists(m, m.k.endsWith('1'))", 13),
    (ENTRIES, "self.listMap.exists_one(m, m.k == 'a3')", 15),
    (ENTRIES, "!self.listMap.all(m, m.k.endsWith('1'))", 18),
    (ENTRIES, "!self.listMap.exists(m, m.v == 'x')", 25),
    (ENTRIES, "!self.listMap.exists_one(m, m.k.startsWith('a'))", 20),
    (ENTRIES, "size(self.listMap.filter(m, m.k == 'a1')) == 1", 27),
    (ENTRIES, "self.listMap.exists(m, m.k == 'a1' && m.v == 'b1')", 16),
    (ENTRIES, "self.listMap.map(m, m.v).exists(v, v == 'b1')", 55),
    (ENTRIES, "self.listMap.exists(m, has(m.v2) && m.v2 == 'z')", 21),
    (ENTRIES, "!self.listMap.all(m, has(m.v2) && m.v2 != 'z')", 10),
    (ENTRIES, "self.listMap.exists_one(m, has(m.v2) && m.v2 == 'z')", 12),
    (ENTRIES, "self.listMap.filter(m, has(m.v2) && m.v2 == 'z').size() == 1", 24),
    (ENTRIES, "self.listMap.map(m, has(m.v2) && m.v2 == 'z', m.v2).size() == 1", 25),
    (ENTRIES, "self.listMap.filter(m, has(m.v2) && m.v2 == 'z').map(m, m.v2).size() == 1", 39),
    (ENTRIES, "self.listMap.exists(m, m.v2 == 'z')", 24),
    (ENTRIES, "!self.listMap.all(m, m.v2 != 'z')", 22),
    (EIGHT, "2 in self.array", 10),
    (EIGHT, "self.array.all(e, e > 0)", 43),
    (EIGHT, "self.array.exists(e, e > 2)", 36),
    (EIGHT, "self.array.exists_one(e, e > 4)", 22),
    (EIGHT, "!self.array.all(e, e < 2)", 21),
    (EIGHT, "!self.array.exists(e, e < 0)", 52),
    (EIGHT, "size(self.array.filter(e, e%2 == 0)) == 3", 68),
    (EIGHT, "self.array.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)", 194),
    (PERCENT, "type(self.val1) == int ? self.val1 == 1 : self.val1 == '25%'", 7),
    (PERCENT, "type(self.val1) == string && self.val1 == '25%'", 7),
    (PERCENT, "self.val1 == 1 || self.val1 == '25%'", 6),
    (PERCENT, "self.val1 == '25%' || self.val1 == 1", 3),
    (PERCENT, "self.val1 != ['anything']", 3),
]


@pytest.mark.parametrize(("world", "rule", "cost"), ROWS, ids=[rule for _, rule, _ in ROWS])
def test_a_rule_holds_and_costs_what_it_costs_upstream(
    world: tuple[dict[str, Any], dict[str, Any]], rule: str, cost: int
) -> None:
    schema, tree = world
    of = types.of_schema(schema)
    assert of is not None
    program = Environment({"self": of}).compile(rule, returns=(types.BOOL,))

    assert program.evaluate({"self": tree}) is True
    assert program.cost({"self": tree}) == cost


def test_a_budget_is_shared_over_evaluations() -> None:
    program = Environment({"x": types.INT}).compile("x == x")
    budget = Budget(7)

    program.evaluate({"x": 1}, budget=budget)
    program.evaluate({"x": 1}, budget=budget)
    assert budget.remaining == 1
    with pytest.raises(CostExceeded):
        program.evaluate({"x": 1}, budget=budget)
    assert budget.exhausted


def test_what_failed_has_been_paid_for() -> None:
    program = Environment({"x": types.INT}).compile("x / 0 == 1")
    budget = Budget(100)

    with pytest.raises(EvaluationError, match="division by zero"):
        program.evaluate({"x": 1}, budget=budget)
    assert budget.remaining < 100


@pytest.mark.parametrize(
    "text",
    [
        "l.all(a, l.all(b, l.all(c, a + b + c >= 0)))",
        "l.map(a, l.map(b, l.map(c, c))).size() > 0",
        "l.exists_one(a, l.exists_one(b, l.exists_one(c, c < 0)))",
        "!(l.all(a, l.all(b, l.all(c, true))) && false)",
    ],
)
def test_a_loop_is_cut_off_at_the_limit_of_one_call(text: str) -> None:
    program = Environment({"l": types.list_of(types.INT)}).compile(text)

    with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate({"l": list(range(300))})


def test_running_out_is_not_outweighed_by_the_other_side_of_an_or() -> None:
    program = Environment({"l": types.list_of(types.INT)}).compile("l.all(a, l.all(b, a >= 0)) || true")

    with pytest.raises(CostExceeded):
        program.evaluate({"l": list(range(1000))}, limit=100)

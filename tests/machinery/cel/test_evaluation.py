"""What expressions yield: the language, as cel-spec's conformance tests have it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from timonel.machinery.cel import DEVICES, MUTATION, Environment, EvaluationError, types

ENVIRONMENT = Environment(
    {
        "d": types.DYN,
        "x": types.INT,
        "s": types.STRING,
        "l": types.list_of(types.INT),
        "n": types.map_of(types.STRING, types.DOUBLE),
        "t": types.TIMESTAMP,
        "b": types.BYTES,
        "absent": types.INT,
    },
    libraries=DEVICES | MUTATION,
)
VALUES = {
    "d": {"a": 1, "b": {"c": [1, 2, 3]}, "flag": True, "none": None, "text": "x"},
    "x": 5,
    "s": "hello",
    "l": [3, 1, 2],
    "n": {"k": 2},
    "t": "2026-01-02T03:04:05.006Z",
    "b": "QUI=",
}


def evaluate(text: str) -> Any:
    return ENVIRONMENT.compile(text).evaluate(VALUES)


HOLD = """
7 / -2 == -3 && -7 / 2 == -3 && -7 % 3 == -1 && 7 % -3 == 1
-9223372036854775808 < 9223372036854775807
0x10 == 16 && 0xAu == 10u && 1e3 == 1000.0 && .5 == 0.5
1.0 / 0.0 > 1e308 && -1.0 / 0.0 < -1e308
!(0.0 / 0.0 == 0.0 / 0.0) && 0.0 / 0.0 != 0.0 / 0.0
1 < 1.5 && 2u > 1 && 9223372036854775807 < 9223372036854775808u && 1.0 <= 1u
dyn(1) == dyn(1.0) && dyn(1) == dyn(1u) && dyn(1u) == dyn(1.0)
dyn(true) != dyn(1) && dyn('1') != dyn(1) && dyn(null) != dyn(0) && dyn([]) != dyn({})
dyn([dyn(1), 2]) == dyn([dyn(1.0), 2u]) && dyn([1]) != dyn([true])
dyn({'a': 1}) == dyn({'a': 1.0}) && {'a': 1, 'b': 2} == {'b': 2, 'a': 1}
{1: 'a'}[dyn(1.0)] == 'a' && {1u: 'a'}[dyn(1)] == 'a'
!(dyn(true) in {1: 2}) && dyn(1.0) in {1: 2} && dyn(1u) in [1, 2]
'a' < 'b' && 'a' < 'aa' && b'a' < b'b' && false < true && 'é' > 'z'
'héllo 👑'.size() == 7 && b'héllo'.size() == 6 && size([1, 2]) == 2 && size({'a': 1}) == 1
'\\x41\\101\\u0041\\U00000041' == 'AAAA' && '\\'' == "'" && '''a'b''' == "a'b" && "\\?\\`" == '?`'
r'\\n'.size() == 2 && '\\n'.size() == 1 && b'\\xff\\377' == b'\\xff\\xff'
'ab' + 'cd' == 'abcd' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]
'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo') && 'hello'.contains('')
'hubba'.matches('ubb') && matches('hubba', '^hub+a$') && !'a\\n'.matches('^a$')
(false && 1 / 0 == 1) == false
(1 / 0 == 1 && false) == false
true || 1 / 0 == 1
1 / 0 == 1 || true
!(1 / 0 == 1 && false)
(d.missing == 1 || d.a == 1)
true ? true : 1 / 0 == 1
false ? 1 / 0 == 1 : true
int('-5') == -5 && int(1.9) == 1 && int(-1.9) == -1
int(3u) == 3 && int(timestamp('1970-01-01T00:00:02Z')) == 2
uint('5') == 5u && uint(1.9) == 1u && double('1e3') == 1000.0 && double(3) == 3.0
string(1) == '1' && string(1u) == '1' && string(true) == 'true' && string(b'abc') == 'abc'
string(1.5) == '1.5' && string(1000000.0) == '1e+06' && string(123456.0) == '123456' && string(1e-5) == '1e-05'
string(1e21) == '1e+21' && string(0.1) == '0.1'
string(-0.0) == '-0' && string(123456789.0) == '1.23456789e+08'
string(duration('1h30m0.5s')) == '5400.5s' && string(duration('-1ms')) == '-0.001s'
string(timestamp('2009-02-13T23:31:30Z')) == '2009-02-13T23:31:30Z'
string(timestamp('2009-02-13T23:31:30.250Z')) == '2009-02-13T23:31:30.25Z'
bytes('é') == b'é' && bool('true') && !bool('f') && bool('1')
type(1) == int && type(1u) == uint && type(1.0) == double && type('') == string && type(b'') == bytes
type(true) == bool && type(null) == null_type && type([]) == list && type({}) == map && type(type(1)) == type
type(timestamp('2026-01-01T00:00:00Z')) == google.protobuf.Timestamp && type(int) == type
timestamp('2009-02-13T23:31:30Z') - timestamp('2009-02-13T23:31:00Z') == duration('30s')
timestamp('2009-02-13T23:31:30Z') + duration('30s') == timestamp('2009-02-13T23:32:00Z')
duration('1m') + timestamp('2009-02-13T23:31:00Z') == timestamp('2009-02-14T00:32:00+01:00')
duration('90m') == duration('1.5h') && duration('1h') - duration('1m') == duration('59m')
duration('1us') < duration('1ms')
timestamp('2009-02-13T23:31:30Z').getFullYear() == 2009 && timestamp('2009-02-13T23:31:30Z').getMonth() == 1
timestamp('2009-02-13T23:31:30Z').getDate() == 13 && timestamp('2009-02-13T23:31:30Z').getDayOfMonth() == 12
timestamp('2009-02-13T23:31:30Z').getDayOfWeek() == 5 && timestamp('2009-02-13T23:31:30Z').getDayOfYear() == 43
timestamp('2009-02-13T23:31:30.123Z').getMilliseconds() == 123
timestamp('2009-02-13T23:31:30Z').getSeconds() == 30
timestamp('2009-02-13T23:31:30Z').getHours('America/New_York') == 18
timestamp('2009-02-13T23:31:30Z').getMinutes('Asia/Kathmandu') == 16
timestamp('2009-02-13T02:00:00Z').getDate('-02:30') == 12
timestamp('2009-02-13T23:31:30Z').getHours('02:00') == 1
duration('3730s').getHours() == 1 && duration('3730s').getMinutes() == 62 && duration('-90s').getMinutes() == -1
duration('1.5s').getMilliseconds() == 1500 && duration('10s').getSeconds() == 10
has(d.a) && !has(d.zzz) && has(d.b.c) && has({'a': null}.a) && has(d.none)
d.b.c[1] == 2 && d['a'] == 1 && d.b['c'].size() == 3 && d.none == null && d.a != null
[1, 2, 3].all(i, i > 0) && [].all(i, false) && ![1, 2].all(i, i > 1) && {'a': 1}.all(k, k == 'a')
[0, 1].exists(i, 1 / i == 1) && ![0, 1].all(i, 1 / i == 2) && ![].exists(i, true)
[1, 2, 3].exists_one(i, i > 2) && ![1, 2, 3].exists_one(i, i > 1) && {'a': 1}.exists_one(k, true)
[1, 2].map(i, i * 2) == [2, 4] && [1, 2].map(i, i > 1, i * 2) == [4] && {'a': 1}.map(k, k) == ['a']
[1, 2, 3].filter(i, i % 2 == 1) == [1, 3] && [[1], [2, 3]].map(i, i.map(j, j + 1)) == [[2], [3, 4]]
[1, 2].map(x, x) == [1, 2] && x == 5 && [1].all(s, s == 1) && s == 'hello'
[1, 2].exists(i, v, i == 1 && v == 2) && {'a': 1}.all(k, v, k == 'a' && v == 1) && [5].existsOne(i, v, i == 0)
[4, 5].transformList(i, v, i + v) == [4, 6] && [4, 5].transformList(i, v, i > 0, v) == [5]
{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10) == {'b': 20} && [7].transformMap(i, v, v) == {0: 7}
{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}
cel.bind(y, x + 1, y * y) == 36 && cel.bind(y, 1 / 0, true) && cel.bind(y, 1, cel.bind(y, y + 1, y)) == 2
optional.of(1).hasValue() && !optional.none().hasValue() && optional.of(1).value() == 1
optional.none().orValue(2) == 2 && optional.of(1).or(optional.of(2)).value() == 1
optional.none().or(optional.of(2)).value() == 2 && optional.of(1).orValue(1 / 0) == 1
!optional.ofNonZeroValue('').hasValue() && !optional.ofNonZeroValue(0).hasValue()
optional.ofNonZeroValue('a').hasValue()
d.?a.orValue(0) == 1 && d.?zzz.orValue(0) == 0 && d.?b.?c[?0].orValue(9) == 1 && d.?b.c[?7].orValue(9) == 9
{'a': {'b': 1}}.?a.b.value() == 1 && !{'a': {'b': 1}}.?z.b.hasValue() && {'a': 1}[?'a'].value() == 1
[1, ?optional.none(), ?optional.of(2)] == [1, 2] && {?'a': optional.of(1), ?'b': optional.none()} == {'a': 1}
optional.of(2).optMap(v, v * 2).value() == 4 && !optional.none().optMap(v, v + 1).hasValue()
optional.of(2).optFlatMap(v, v > 1 ? optional.of(v) : optional.none()).value() == 2
optional.of(1) == optional.of(1) && optional.of(1) != optional.none() && optional.none() == optional.none()
optional.unwrap([optional.of(1), optional.none()]) == [1]
[1, 2].first().value() == 1 && ![].last().hasValue()
n.k == 2.0 && n.k / 4.0 == 0.5 && type(n.k) == double && n.all(k, n[k] / 4.0 == 0.5)
t.getFullYear() == 2026 && t.getMilliseconds() == 6
t < timestamp('2027-01-01T00:00:00Z') && b == b'AB' && size(b) == 2
-x == -5 && --x == 5 && !!true && -(1) == -1 && -1.5 < 0.0
x > 3 ? s == 'hello' : false
[1, 2, 3] == [1, 2, 3,] && {'a': 1,} == {'a': 1}
.x == 5
""".strip().splitlines()


@pytest.mark.parametrize("text", HOLD)
def test_it_holds(text: str) -> None:
    assert evaluate(text) is True


FAIL = [
    ("9223372036854775807 + 1", "integer overflow"),
    ("-9223372036854775808 - 1", "integer overflow"),
    ("9223372036854775807 * 2", "integer overflow"),
    ("-(-9223372036854775808)", "integer overflow"),
    ("-9223372036854775808 / -1", "integer overflow"),
    ("18446744073709551615u + 1u", "unsigned integer overflow"),
    ("0u - 1u", "unsigned integer overflow"),
    ("1 / 0", "division by zero"),
    ("1u / 0u", "division by zero"),
    ("1 % 0", "modulus by zero"),
    ("int(1e19)", "integer overflow"),
    ("int(0.0 / 0.0)", "integer overflow"),
    ("uint(-1)", "unsigned integer overflow"),
    ("int('1.5')", "type conversion error from 'string' to 'int'"),
    ("bool('yes')", "type conversion error from 'string' to 'bool'"),
    ("timestamp(s)", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
    ("string(b'\\xff')", "invalid UTF-8 in bytes, cannot convert to string"),
    ("timestamp('9999-12-31T23:59:59Z') + duration('10h')", "timestamp overflow"),
    ("d.missing", "no such key: missing"),
    ("d.b.missing.deeper", "no such key: missing"),
    ("{'a': 1}['b']", "no such key: b"),
    ("{1: 1}[2]", "no such key: 2"),
    ("{true: 1}[false]", "no such key: false"),
    ("l[3]", "index out of bounds: 3"),
    ("l[-1]", "index out of bounds: -1"),
    ("d.a.b", "no such key: b"),
    ("d.a + 'x'", "no such overload"),
    ("d.text < 1", "no such overload"),
    ("d.text && true", "no such overload"),
    ("!d.a", "no such overload"),
    ("d.a ? 1 : 2", "no such overload"),
    ("d.a.startsWith('x')", "no such overload: startsWith(int, string)"),
    ("size(d.a)", "no such overload: size(int)"),
    ("d.a.all(i, true)", "got 'int', expected iterable type"),
    ("[0, 2].exists(i, 1 / i == 1)", "division by zero"),
    ("[1, 0].all(i, 1 / i == 1)", "division by zero"),
    ("[0].map(i, 1 / i)", "division by zero"),
    ("1 / 0 == 1 && true", "division by zero"),
    ("d.missing == 1 && 1 / 0 == 1", "no such key: missing"),
    ("false || 1 % 0 == 1", "modulus by zero"),
    ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
    ("{'a': 1, 'b': 1}.transformMapEntry(k, v, {v: k})", "insert failed: key 1 already exists"),
    ("optional.none().value()", "optional.none() dereference"),
    ("cel.bind(y, 1 / 0, y + 1)", "division by zero"),
    ("absent + 1", "no such attribute(s): absent"),
    ("timestamp('2026-01-01T00:00:00Z').getHours('Mars/Base')", "unknown time zone Mars/Base"),
]


@pytest.mark.parametrize(("text", "message"), FAIL)
def test_it_fails_as_upstream_says(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failure:
        evaluate(text)
    assert str(failure.value) == message


def test_what_is_absent_does_not_matter_where_it_is_not_used() -> None:
    assert ENVIRONMENT.compile("x == 5").evaluate({"x": 5}) is True


def test_nan_and_infinities_from_trees_are_doubles() -> None:
    environment = Environment({"v": types.DOUBLE})

    assert environment.compile("v > 1e308").evaluate({"v": math.inf}) is True
    assert environment.compile("v == v").evaluate({"v": math.nan}) is False


def test_a_lazy_mapping_is_asked_only_for_what_is_used() -> None:
    asked: list[str] = []

    class Lazy(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            asked.append(key)
            return 1

    program = Environment({"variables": types.object("v", {"a": types.INT, "b": types.INT})}).compile(
        "variables.a == 1 || variables.b == 2"
    )
    assert program.evaluate({"variables": Lazy()}) is True
    assert asked == ["a"]


def test_a_program_names_what_it_refers_to() -> None:
    assert ENVIRONMENT.compile("x > 1 && l.all(i, i < d.a)").references == {"x", "l", "d"}
    assert ENVIRONMENT.compile("l.all(x, x > 0)").references == {"l"}


@pytest.mark.parametrize(("value", "held"), [(None, False), ({}, False), ({"metadata": {}}, True)])
def test_a_variable_that_is_null_has_no_fields(value: Any, held: bool) -> None:
    namespace = types.object("Namespace", {"metadata": types.object("ObjectMeta", {"name": types.STRING})})
    environment = Environment({"namespaceObject": namespace})

    assert environment.compile("has(namespaceObject.metadata)").evaluate({"namespaceObject": value}) is held

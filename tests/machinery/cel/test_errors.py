"""What is said of an expression that does not compile: upstream's words, with the line and a caret."""

from __future__ import annotations

import pytest

from timonel.machinery.cel import DEVICES, MUTATION, CompileError, Environment, WrongResult, types

ENVIRONMENT = Environment(
    {
        "d": types.DYN,
        "x": types.INT,
        "s": types.STRING,
        "l": types.list_of(types.INT),
        "object": types.DYN,
        "self": types.object("self", {"low": types.INT, "list": types.list_of(types.STRING)}),
        "o": types.optional_of(types.INT),
    },
    libraries=DEVICES | MUTATION,
)
START = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES,"
    " IDENTIFIER}"
)

# The text, the column (from 1), the message.
ROWS = [
    ("object.x +", 11, f"Syntax error: mismatched input '<EOF>' expecting {START}"),
    ("Not_Valid!", 10, "Syntax error: extraneous input '!' expecting <EOF>"),
    ("a b", 3, "Syntax error: extraneous input 'b' expecting <EOF>"),
    ("(1", 3, "Syntax error: missing ')' at '<EOF>'"),
    ("s.contains('x'", 15, "Syntax error: missing ')' at '<EOF>'"),
    ("size(s 1)", 8, "Syntax error: extraneous input '1' expecting ')'"),
    ("{'a' 1}", 6, "Syntax error: missing ':' at '1'"),
    ("x > 1 ? 2 3", 11, "Syntax error: missing ':' at '3'"),
    ("x > 1 ? 2", 10, "Syntax error: mismatched input '<EOF>' expecting ':'"),
    ("[1, 2", 6, "Syntax error: mismatched input '<EOF>' expecting {']', ','}"),
    ("s.", 3, "Syntax error: no viable alternative at input '.'"),
    ("{'a': 1}.'a'", 10, "Syntax error: no viable alternative at input '.'a''"),
    ("x === 1", 5, "Syntax error: token recognition error at: '= '"),
    ("x > 1 and s == ''", 7, "Syntax error: mismatched input 'and' expecting <EOF>"),
    ("for", 1, "reserved identifier: for"),
    ("variables.big ? 1 : 2", 1, "undeclared reference to 'variables' (in container '')"),
    ("!variables.big", 2, "undeclared reference to 'variables' (in container '')"),
    ("self.high", 5, "undefined field 'high'"),
    ("self.low <= self.high", 17, "undefined field 'high'"),
    ("has(self.high)", 4, "undefined field 'high'"),
    ("!x", 1, "found no matching overload for '!_' applied to '(int)'"),
    ("x ? 'yes' : 'no'", 3, "found no matching overload for '_?_:_' applied to '(int, string, string)'"),
    ("x + s", 3, "found no matching overload for '_+_' applied to '(int, string)'"),
    ("x == s", 3, "found no matching overload for '_==_' applied to '(int, string)'"),
    ("1 == 1.0", 3, "found no matching overload for '_==_' applied to '(int, double)'"),
    ("x == null", 3, "found no matching overload for '_==_' applied to '(int, null)'"),
    ("'a' in l", 5, "found no matching overload for '@in' applied to '(string, list(int))'"),
    ("s.startsWith(1)", 13, "found no matching overload for 'startsWith' applied to 'string.(int)'"),
    ("size(x)", 5, "found no matching overload for 'size' applied to '(int)'"),
    ("l['a']", 2, "found no matching overload for '_[_]' applied to '(list(int), string)'"),
    ("unknown(1)", 8, "undeclared reference to 'unknown' (in container '')"),
    ("s.unknown()", 10, "undeclared reference to 'unknown' (in container '')"),
    ("x.y", 2, "type 'int' does not support field selection"),
    ("[1, 'a']", 5, "expected type 'int' but found 'string'"),
    ("{'a': 1, 'b': 'c'}", 15, "expected type 'int' but found 'string'"),
    (
        "x.all(i, true)",
        1,
        "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
    ),
    ("l.all(i, i)", 6, "found no matching overload for '_&&_' applied to '(bool, int)'"),
    ("l.all(1, true)", 7, "argument must be a simple name"),
    ("l.map(a.b, 1)", 8, "argument must be a simple name"),
    ("has(x)", 5, "invalid argument to has() macro"),
    ("l.exists(i, i, true)", 13, "duplicate variable name: i"),
    ("duration('1x')", 10, "invalid duration argument"),
    ("timestamp('x')", 11, "invalid timestamp argument"),
    ("s.matches('[')", 11, "invalid matches argument"),
    ("9223372036854775808", 1, "invalid int literal"),
    ("18446744073709551616u", 1, "invalid uint literal"),
    ("1e400", 1, "invalid double literal"),
    ("JSONPatch{op: 1}", 13, "expected type of field 'op' is 'string' but provided type is 'int'"),
    ("JSONPatch{what: 1}", 15, "undefined field 'what'"),
    ("Nothing{a: 1}", 8, "undeclared reference to 'Nothing' (in container '')"),
    ("o + 1", 3, "found no matching overload for '_+_' applied to '(optional_type(int), int)'"),
    ("[?1]", 3, "expected type 'optional_type(int)' but found 'int'"),
]


@pytest.mark.parametrize(("text", "column", "message"), ROWS, ids=[text for text, _, _ in ROWS])
def test_the_place_and_the_words_are_upstreams(text: str, column: int, message: str) -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile(text)
    dots = "." * (column - 1)
    assert str(failure.value) == f"ERROR: <input>:1:{column}: {message}\n | {text}\n | {dots}^"


def test_every_mistake_is_listed_by_place() -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile("x + 'a' + undef")
    assert str(failure.value) == (
        "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n"
        " | x + 'a' + undef\n"
        " | ..^\n"
        "ERROR: <input>:1:11: undeclared reference to 'undef' (in container '')\n"
        " | x + 'a' + undef\n"
        " | ..........^"
    )


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("1 + +", [4, 5]),
        ("* x", [0]),
        ("x + * y +", [4, 9]),
        ("(x +", [4]),
        ("[x, , 1]", [4]),
        ("x ? : 1", [4]),
    ],
)
def test_reading_goes_on_after_an_operand_that_is_not_there(text: str, places: list[int]) -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile(text)
    assert [issue.offset for issue in failure.value.issues] == places


def test_a_place_on_a_later_line_shows_that_line() -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile("x > 1 &&\n\tself.high > 2")
    assert str(failure.value) == "ERROR: <input>:2:6: undefined field 'high'\n |  self.high > 2\n | .....^"


def test_wide_characters_take_wide_dots() -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile("'é' + x")
    assert str(failure.value).splitlines()[2] == " | .\uff0e..^"


def test_an_empty_text_has_no_line_to_show() -> None:
    with pytest.raises(CompileError) as failure:
        ENVIRONMENT.compile("")
    assert (
        str(failure.value) == f"ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {START}"
    )


def test_a_text_that_is_too_long_is_not_read() -> None:
    with pytest.raises(
        CompileError, match="expression code point size exceeds limit: size: 100001, limit 100000"
    ):
        ENVIRONMENT.compile(" " * 100_001)


@pytest.mark.parametrize(
    ("text", "returns", "message"),
    [
        ("-1", (types.BOOL,), "must evaluate to bool"),
        ("-1", (types.STRING, types.NULL), "must evaluate to one of [string null_type]"),
        ("'a'", (types.list_of(types.object("JSONPatch", {})),), "must evaluate to list(JSONPatch)"),
    ],
)
def test_a_result_of_another_type_is_refused(
    text: str, returns: tuple[types.Type, ...], message: str
) -> None:
    with pytest.raises(WrongResult) as failure:
        ENVIRONMENT.compile(text, returns=returns)
    assert str(failure.value) == message


def test_a_result_that_may_be_anything_is_accepted() -> None:
    assert ENVIRONMENT.compile("d.a", returns=(types.BOOL,)).result == types.DYN


def test_what_a_library_declares_is_unknown_without_it() -> None:
    plain = Environment({"l": types.list_of(types.INT)}, libraries=("standard",))

    for text in ("quantity('1')", "l.sum()", "l.exists(i, v, true)", "cel.bind(a, 1, a)", "JSONPatch{}"):
        with pytest.raises(CompileError):
            plain.compile(text)
    assert plain.extended(libraries=("lists",)).compile("l.sum()").evaluate({"l": [1, 2]}) == 3

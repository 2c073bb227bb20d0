"""From tokens to nodes: operator precedence in one loop, macros expanded where they are called.

The messages are those of the ANTLR parser that upstream uses. It goes on after a token that is missing or too many, and
after an operand that is not there; other mistakes end the reading, though ANTLR might find more.

Upstream: cel-go parser/{parser,helper}.go, parser/gen/CEL.g4; ANTLR's DefaultErrorStrategy.
"""

from __future__ import annotations

from timonel.machinery.cel import types
from timonel.machinery.cel.ast import (
    Call,
    Const,
    Entry,
    FieldEntry,
    Ident,
    ListNode,
    MapNode,
    Node,
    Select,
    StructNode,
)
from timonel.machinery.cel.errors import Issue
from timonel.machinery.cel.lexer import EOF, KINDS, BadEscape, Token, bytes_value, string_value, tokenize
from timonel.machinery.cel.macros import MacroError, expand
from timonel.machinery.cel.source import MAX_CODE_POINTS, MAX_DEPTH, failure

_BINARY = {
    "||": (1, "_||_"),
    "&&": (2, "_&&_"),
    "<": (3, "_<_"),
    "<=": (3, "_<=_"),
    ">": (3, "_>_"),
    ">=": (3, "_>=_"),
    "==": (3, "_==_"),
    "!=": (3, "_!=_"),
    "in": (3, "@in"),
    "+": (4, "_+_"),
    "-": (4, "_-_"),
    "*": (5, "_*_"),
    "/": (5, "_/_"),
    "%": (5, "_%_"),
}
_START = frozenset(
    [
        "[",
        "{",
        "(",
        ".",
        "-",
        "!",
        "true",
        "false",
        "null",
        "NUM_FLOAT",
        "NUM_INT",
        "NUM_UINT",
        "STRING",
        "BYTES",
        "IDENTIFIER",
    ]
)
_AFTER = frozenset(_BINARY) | frozenset(["]", "}", ")", ",", "?", ":", ".", "["]) | {EOF}
_RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1


class _Stop(Exception):
    """A message was noted after which nothing sensible follows."""


def parse(text: str, macros: frozenset[str]) -> Node:
    """The expression, macros expanded; raises CompileError."""
    if len(text) > MAX_CODE_POINTS:
        message = f"expression code point size exceeds limit: size: {len(text)}, limit {MAX_CODE_POINTS}"
        raise failure(text, (Issue(-1, message),))
    tokens, issues = tokenize(text)
    parser = _Parser(tokens, issues, macros)
    node: Node | None = None
    try:
        node = parser.expression()
        parser.expect(EOF)
    except _Stop:
        pass
    if issues or node is None:
        raise failure(text, issues)
    return node


def _named(kind: str) -> str:
    return kind if kind.isupper() or kind == EOF else f"'{kind}'"


def _expecting(kinds: frozenset[str]) -> str:
    names = [_named(kind) for kind in KINDS if kind in kinds]
    return names[0] if len(names) == 1 else f"{{{', '.join(names)}}}"


class _Parser:
    def __init__(self, tokens: list[Token], issues: list[Issue], macros: frozenset[str]) -> None:
        self.tokens = tokens
        self.issues = issues
        self.macros = macros
        self.at = 0
        self.depth = 0
        self.lost = False
        """Whether nothing has fitted since the last syntax error."""

    def say(self, pos: int, message: str) -> None:
        self.issues.append(Issue(pos, message))

    def stop(self, pos: int, message: str) -> _Stop:
        self.say(pos, message)
        return _Stop()

    def accept(self, kind: str) -> Token | None:
        token = self.tokens[self.at]
        if token.kind != kind:
            return None
        self.at += 1
        self.lost = False
        return token

    def complain(self, pos: int, message: str) -> None:
        """Note a syntax error, unless it only follows from the one before: nothing has fitted since."""
        if not self.lost:
            self.say(pos, f"Syntax error: {message}")
        self.lost = True

    def expect(self, kind: str, *, also: tuple[str, ...] = ()) -> Token:
        """The token of this kind; one that is missing, or stands behind one too many, is noted and taken as there."""
        token = self.tokens[self.at]
        if token.kind == kind:
            self.at += 1
            self.lost = False
            return token
        expecting = _expecting(frozenset((kind, *also)))
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if token.kind != EOF and following.kind == kind:
            self.complain(token.pos, f"extraneous input '{token.text}' expecting {expecting}")
            self.at += 2
            self.lost = False
            return following
        if not also and token.kind in (_START if kind == ":" else _AFTER if kind in (")", "]", "}") else ()):
            self.complain(token.pos, f"missing '{kind}' at '{token.text}'")
            return Token(kind, kind, token.pos)
        self.complain(token.pos, f"mismatched input '{token.text}' expecting {expecting}")
        raise _Stop

    def no_operand(self, also: tuple[str, ...]) -> Node:
        """Note that no operand starts here; go on behind one token too many, or at what may follow an operand."""
        token = self.tokens[self.at]
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        wanted = _START | frozenset(also)
        if token.kind != EOF and following.kind in wanted:
            self.complain(token.pos, f"extraneous input '{token.text}' expecting {_expecting(wanted)}")
            self.at += 1
            return self.member(also)
        self.complain(token.pos, f"mismatched input '{token.text}' expecting {_expecting(wanted)}")
        while self.tokens[self.at].kind not in _AFTER:
            self.at += 1
        return Const(token.pos, False, types.BOOL)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop(-1, f"expression recursion limit exceeded: {MAX_DEPTH}")

    def expression(self, also: tuple[str, ...] = ()) -> Node:
        self.deeper()
        node = self.binary(1, also)
        question = self.accept("?")
        if question is not None:
            yes = self.binary(1, ())
            self.expect(":")
            no = self.expression()
            node = Call(question.pos, "_?_:_", [node, yes, no])
        self.depth -= 1
        return node

    def binary(self, weakest: int, also: tuple[str, ...]) -> Node:
        """Operators that bind at least as tightly as `weakest`; chains of && and || become balanced trees."""
        token = self.tokens[self.at]
        signs = 0
        if token.kind == "!" or (
            token.kind == "-" and self.tokens[self.at + 1].kind not in ("NUM_INT", "NUM_FLOAT")
        ):
            while self.accept(token.kind) is not None:
                signs += 1
        left = self.member(() if signs else also)
        if signs % 2:
            left = Call(token.pos, "!_" if token.kind == "!" else "-_", [left])
        levels = 0
        while True:
            token = self.tokens[self.at]
            known = _BINARY.get(token.kind)
            if known is None or known[0] < weakest:
                return left
            strength, function = known
            if strength <= 2:
                left = self.chain(left, token.kind, strength, function)
                continue
            levels += 1
            if self.depth + levels > MAX_DEPTH:
                raise self.stop(-1, f"expression recursion limit exceeded: {MAX_DEPTH}")
            self.at += 1
            self.lost = False
            self.deeper()
            right = self.binary(strength + 1, ())
            self.depth -= 1
            left = Call(token.pos, function, [left, right])

    def chain(self, first: Node, kind: str, strength: int, function: str) -> Node:
        terms, places = [first], []
        while (token := self.accept(kind)) is not None:
            places.append(token.pos)
            terms.append(self.binary(strength + 1, ()))
        return _balanced(function, terms, places, 0, len(places) - 1)

    def member(self, also: tuple[str, ...]) -> Node:
        if self.accept("(") is not None:
            node = self.expression()
            self.expect(")")
        else:
            node = self.primary(also)
        links = 0
        while True:
            token = self.tokens[self.at]
            if token.kind == ".":
                self.at += 1
                node = self.selected(node, token)
            elif token.kind == "[":
                self.at += 1
                optional = self.accept("?") is not None
                index = self.expression()
                self.expect("]")
                node = Call(token.pos, "_[?_]" if optional else "_[_]", [node, index])
            elif token.kind == "{" and (name := _qualified(node)) is not None:
                self.at += 1
                node = StructNode(token.pos, name, self.field_entries())
            else:
                return node
            links += 1
            if self.depth + links > MAX_DEPTH:
                raise self.stop(-1, f"expression recursion limit exceeded: {MAX_DEPTH}")

    def selected(self, operand: Node, dot: Token) -> Node:
        optional = self.accept("?") is not None
        name = self.tokens[self.at]
        if name.kind != "IDENTIFIER":
            seen = f".{'?' if optional else ''}{'' if name.kind == EOF else name.text}"
            raise self.stop(name.pos, f"Syntax error: no viable alternative at input '{seen}'")
        self.at += 1
        if optional:
            return Call(dot.pos, "_?._", [operand, Const(name.pos, name.text, types.STRING)])
        opened = self.accept("(")
        if opened is None:
            return Select(dot.pos, operand, name.text)
        args = self.arguments()
        return self.called(opened.pos, name.text, args, operand)

    def called(self, pos: int, function: str, args: list[Node], target: Node | None) -> Node:
        try:
            macro = expand(self.macros, pos, function, target, args)
        except MacroError as wrong:
            self.say(wrong.pos, str(wrong))
            return Const(pos, False, types.BOOL)
        return macro if macro is not None else Call(pos, function, args, target)

    def arguments(self) -> list[Node]:
        args: list[Node] = []
        if self.accept(")") is not None:
            return args
        while True:
            args.append(self.expression((")",) if not args else ()))
            if self.accept(",") is None:
                self.expect(")")
                return args

    def primary(self, also: tuple[str, ...]) -> Node:
        token = self.tokens[self.at]
        kind = token.kind
        if kind == "[":
            self.at += 1
            return self.list_literal(token)
        if kind == "{":
            self.at += 1
            return MapNode(token.pos, self.map_entries())
        if kind in ("IDENTIFIER", "."):
            return self.name(token)
        if kind not in _START or kind == "!":
            return self.no_operand(also)
        return self.literal(token)

    def name(self, token: Token) -> Node:
        leading = "." if self.accept(".") is not None else ""
        name = self.tokens[self.at]
        if name.kind != "IDENTIFIER":
            expecting = _expecting(frozenset(("IDENTIFIER",)))
            raise self.stop(name.pos, f"Syntax error: mismatched input '{name.text}' expecting {expecting}")
        self.at += 1
        if name.text in _RESERVED:
            self.say(name.pos, f"reserved identifier: {name.text}")
        opened = self.accept("(")
        if opened is not None:
            return self.called(opened.pos, leading + name.text, self.arguments(), None)
        return Ident(token.pos, leading + name.text)

    def list_literal(self, opened: Token) -> Node:
        elems: list[Node] = []
        optional: set[int] = set()
        while self.accept("]") is None:
            if self.accept("?") is not None:
                optional.add(len(elems))
            elems.append(self.expression(("]", ",", "?") if not elems else ("]", "?")))
            if self.accept(",") is None:
                self.expect("]", also=(",",))
                break
        return ListNode(opened.pos, elems, frozenset(optional))

    def map_entries(self) -> list[Entry]:
        entries: list[Entry] = []
        while self.accept("}") is None:
            optional = self.accept("?") is not None
            key = self.expression(("}", ",", "?") if not entries else ("}", "?"))
            colon = self.expect(":")
            entries.append(Entry(colon.pos, key, self.expression(), optional))
            if self.accept(",") is None:
                self.expect("}", also=(",",))
                break
        return entries

    def field_entries(self) -> list[FieldEntry]:
        entries: list[FieldEntry] = []
        while self.accept("}") is None:
            optional = self.accept("?") is not None
            name = self.tokens[self.at]
            if name.kind != "IDENTIFIER":
                expecting = _expecting(frozenset(("}", ",", "?", "IDENTIFIER")))
                raise self.stop(
                    name.pos, f"Syntax error: mismatched input '{name.text}' expecting {expecting}"
                )
            self.at += 1
            colon = self.expect(":")
            entries.append(FieldEntry(colon.pos, name.text, self.expression(), optional))
            if self.accept(",") is None:
                self.expect("}", also=(",",))
                break
        return entries

    def literal(self, token: Token) -> Node:
        self.at += 1
        sign = ""
        start = token.pos
        if token.kind == "-":
            sign = "-"
            token = self.tokens[self.at]
            if token.kind not in ("NUM_INT", "NUM_FLOAT"):
                self.at -= 1
                return self.no_operand(())
            self.at += 1
        kind, text = token.kind, token.text
        if kind in ("true", "false"):
            return Const(start, kind == "true", types.BOOL)
        if kind == "null":
            return Const(start, None, types.NULL)
        if kind == "NUM_FLOAT":
            number = float(sign + text)
            if number in (float("inf"), float("-inf")):
                self.say(start, "invalid double literal")
            return Const(start, number, types.DOUBLE)
        if kind == "NUM_INT":
            return self.integer(start, sign, text)
        if kind == "NUM_UINT":
            return self.unsigned(start, text[:-1])
        try:
            if kind == "STRING":
                return Const(start, string_value(text), types.STRING)
            return Const(start, bytes_value(text), types.BYTES)
        except BadEscape as wrong:
            self.say(start, str(wrong))
            return Const(start, "", types.STRING)

    def integer(self, start: int, sign: str, text: str) -> Node:
        value = _number(sign, text)
        if value is None or not INT_MIN <= value <= INT_MAX:
            self.say(start, "invalid int literal")
            value = 0
        return Const(start, value, types.INT)

    def unsigned(self, start: int, text: str) -> Node:
        from timonel.machinery.cel.values import UInt

        value = _number("", text)
        if value is None or value > UINT_MAX:
            self.say(start, "invalid uint literal")
            value = 0
        return Const(start, UInt(value), types.UINT)


def _number(sign: str, text: str) -> int | None:
    """None for what is longer than any number that fits (Python refuses to parse thousands of digits)."""
    if len(text) > 100:
        text = text.lstrip("0") or "0"
        if len(text) > 100:
            return None
    return int(sign + text, 16 if text.startswith("0x") else 10)


def _balanced(function: str, terms: list[Node], places: list[int], low: int, high: int) -> Node:
    middle = (low + high + 1) // 2
    left = terms[middle] if middle == low else _balanced(function, terms, places, low, middle - 1)
    right = terms[middle + 1] if middle == high else _balanced(function, terms, places, middle + 1, high)
    return Call(places[middle], function, [left, right])


def _qualified(node: Node) -> str | None:
    """`a.b.c` as one name, when the node is only that."""
    names: list[str] = []
    while isinstance(node, Select) and not node.test:
        names.append(node.name)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    names.append(node.name)
    return ".".join(reversed(names))

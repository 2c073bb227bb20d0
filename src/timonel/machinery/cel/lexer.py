"""Tokens of CEL: one pass of a regular expression, and what literals mean.

Text that starts no token is reported and skipped, as ANTLR's lexer does, so that the parser's message follows it.

Upstream: cel-go parser/gen/CEL.g4, parser/unescape.go.
"""

from __future__ import annotations

import re

from timonel.machinery.cel.errors import Issue
from timonel.records import dataclass

EOF = "<EOF>"
SYMBOLS = (
    "==", "!=", "in", "<", "<=", ">=", ">", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%", "true", "false", "null",
)  # fmt: skip
KINDS = (*SYMBOLS, "NUM_FLOAT", "NUM_INT", "NUM_UINT", "STRING", "BYTES", "IDENTIFIER", EOF)
_WORDS = frozenset(("in", "true", "false", "null"))

_ESC = r"\\(?:[abfnrtv\"'\\?`]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7][0-7])"
_STRING = (
    rf'[rR]"""(?:.|\n)*?"""|[rR]\'\'\'(?:.|\n)*?\'\'\'|[rR]"[^"\n\r]*"|[rR]\'[^\'\n\r]*\''
    rf'|"""(?:{_ESC}|[^\\])*?"""|\'\'\'(?:{_ESC}|[^\\])*?\'\'\''
    rf'|"(?:{_ESC}|[^\\"\n\r])*"|\'(?:{_ESC}|[^\\\'\n\r])*\''
)
_token = re.compile(
    rf"(?P<skip>[\t \r\n\f]+|//[^\n]*)"
    rf"|(?P<BYTES>[bB](?:{_STRING}))|(?P<STRING>{_STRING})"
    r"|(?P<NUM_FLOAT>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<NUM_UINT>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])|(?P<NUM_INT>0x[0-9a-fA-F]+|[0-9]+)"
    r"|(?P<IDENTIFIER>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>==|!=|<=|>=|&&|\|\||[<>\[\]{}().,\-!?:+*/%])"
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    pos: int


def tokenize(text: str) -> tuple[list[Token], list[Issue]]:
    """All tokens, the last one EOF, and a message for each place where none starts."""
    tokens: list[Token] = []
    issues: list[Issue] = []
    at = 0
    end = len(text)
    match = _token.match
    while at < end:
        found = match(text, at)
        if found is None:
            wrong = _unrecognised(text, at)
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{_visible(wrong)}'"))
            at += len(wrong)
            continue
        kind = found.lastgroup or ""
        if kind != "skip":
            word = found[0]
            if kind == "symbol" or word in _WORDS:
                kind = word
            tokens.append(Token(kind, word, at))
        at = found.end()
    tokens.append(Token(EOF, EOF, end))
    return tokens, issues


def _unrecognised(text: str, at: int) -> str:
    """What the lexer drops: for an open string everything that it took for the string, else one character."""
    quote = text[at]
    if quote not in "\"'":
        return text[at : at + 2] if text[at] in "&|=" and text[at + 1 : at + 2] else text[at]
    stop = re.compile(r"[\n\r]").search(text, at)
    return text[at : stop.start() if stop else len(text)]


def _visible(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


class BadEscape(ValueError):
    """A string literal with a value that cannot be; the message is upstream's."""


_escape = re.compile(
    r"\\(?:([xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|([0-3][0-7][0-7])|(.))", re.DOTALL
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _body(literal: str) -> tuple[str, bool]:
    """The text between the quotes, and whether it is raw."""
    raw = literal[0] in "rR"
    if raw:
        literal = literal[1:]
    quotes = 3 if literal[:3] in ('"""', "'''") and len(literal) >= 6 else 1
    return literal[quotes:-quotes].replace("\r\n", "\n").replace("\r", "\n"), raw


def string_value(literal: str) -> str:
    body, raw = _body(literal)
    if raw or "\\" not in body:
        return body

    def plain(found: re.Match[str]) -> str:
        if found[1] is not None:
            return _code_point(int(found[1][1:], 16))
        if found[2] is not None:
            return chr(int(found[2], 8))
        return _PLAIN.get(found[3], found[3])

    return _escape.sub(plain, body)


def _code_point(number: int) -> str:
    if number > 0x10FFFF or 0xD800 <= number < 0xE000:
        raise BadEscape("invalid unicode code point")
    return chr(number)


def bytes_value(literal: str) -> bytes:
    body, raw = _body(literal[1:])
    if raw or "\\" not in body:
        return body.encode("utf-8", "surrogatepass")
    out = bytearray()
    at = 0
    for found in _escape.finditer(body):
        out += body[at : found.start()].encode("utf-8", "surrogatepass")
        at = found.end()
        if found[1] is not None:
            if found[1][0] in "uU":
                raise BadEscape("unable to unescape string")
            out.append(int(found[1][1:], 16))
        elif found[2] is not None:
            out.append(int(found[2], 8))
        else:
            out += _PLAIN.get(found[3], found[3]).encode()
    out += body[at:].encode("utf-8", "surrogatepass")
    return bytes(out)

"""Go's text/template, as far as Stages use it: fields, variables, pipelines, if, range, with, define. Pure.

A template is compiled once and rendered often, with the functions that the caller gives it besides Go's own. A variable
or template that it does not define is refused when it is compiled; `check` tells of functions that there are none of.
Upstream: Go's text/template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from inspect import signature
from typing import Any

from timonel.records import dataclass

Function = Callable[..., Any]

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<variable>\$\w*)"""
    r"""|(?P<field>\.[A-Za-z_]\w*)|(?P<dot>\.)|(?P<name>[A-Za-z_]\w*)|(?P<op>:=|=|[|(),]))"""
)
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
MOST_OUTPUT = 1 << 20  # characters that one rendering may give
MOST_TURNS = 100_000  # of a range over a number


class TemplateError(Exception):
    """What is no template, or what cannot be rendered."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(slots=True)
class _Scope:
    """Where a rendering is: the variables of blocks around each other, innermost last."""

    functions: Mapping[str, Function]
    defined: Mapping[str, _Block]
    out: list[str]
    variables: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > MOST_OUTPUT:
            raise TemplateError("the template gives too much output")
        self.out.append(text)

    def get(self, name: str) -> Any:
        for block in reversed(self.variables):
            if name in block:
                return block[name]
        raise TemplateError(f"undefined variable {name!r}")

    def set(self, name: str, value: Any) -> None:
        for block in reversed(self.variables):
            if name in block:
                block[name] = value
                return
        raise TemplateError(f"undefined variable {name!r}")


_Render = Callable[[_Scope, Any], None]
_Value = Callable[[_Scope, Any], Any]
_Block = list[_Render]


class Template:
    def __init__(self, text: str) -> None:
        """Raises TemplateError."""
        self._defined: dict[str, _Block] = {}
        parser = _Parser(text, self._defined)
        try:
            self._block, closed_by = parser.block()
        except RecursionError as e:
            raise TemplateError("it is nested too deep") from e
        if closed_by:
            raise TemplateError(f"unexpected {{{{{closed_by}}}}}")
        if missing := parser.names.templates - self._defined.keys():
            raise TemplateError(f"template {min(missing)!r} is not defined")
        self._calls = frozenset(parser.names.calls)

    def check(self, functions: Mapping[str, Function]) -> None:
        """Whether it calls nothing else than these and Go's own, and no function with too many or few arguments.
        Raises TemplateError."""
        known = {**BUILTIN, **functions}
        for name, count in sorted(self._calls):
            if name not in known:
                raise TemplateError(f"function {name!r} not defined")
            try:
                signature(known[name]).bind(*[None] * count)
            except TypeError as e:
                raise TemplateError(f"wrong number of arguments for {name}: {count}") from e
            except ValueError:  # one of Python's own, which does not tell
                continue

    def render(self, dot: Any, functions: Mapping[str, Function]) -> str:
        """Raises TemplateError."""
        scope = _Scope({**BUILTIN, **functions}, self._defined, [], [{"$": dot}])
        _render(self._block, scope, dot)
        return "".join(scope.out)


def _render(block: _Block, scope: _Scope, dot: Any, **variables: Any) -> None:
    scope.variables.append({f"${name}": value for name, value in variables.items()})
    try:
        for part in block:
            part(scope, dot)
    finally:
        scope.variables.pop()


class _Names:
    """The variables that can be seen at this point of a template, innermost block last, and all that it calls."""

    def __init__(self) -> None:
        self.variables: list[set[str]] = [{"$"}]
        self.calls: set[tuple[str, int]] = set()  # functions, each with a number of arguments
        self.templates: set[str] = set()

    def see(self, variable: str) -> None:
        if not any(variable in block for block in self.variables):
            raise TemplateError(f"undefined variable {variable!r}")


class _Parser:
    def __init__(self, text: str, defined: dict[str, _Block]) -> None:
        self._parts = list(_parts(text))
        self._at = 0
        self._defined = defined
        self.names = _Names()

    def block(self) -> tuple[_Block, str]:
        """Up to `end` or `else …`, which is what it was closed by."""
        found: _Block = []
        while self._at < len(self._parts):
            kind, text = self._parts[self._at]
            self._at += 1
            if kind == "text":
                found.append(_text(text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("end", "else"):
                return found, text
            if word == "define":
                outer, self.names.variables = self.names.variables, [{"$"}]
                self._defined[rest.strip().strip('"`')] = self._closed()
                self.names.variables = outer
            elif word in ("if", "with", "range"):
                found.append(self._control(word, rest))
            elif word == "template":
                found.append(self._call(rest))
            elif text == "break":
                found.append(_raise(_Break))
            elif text == "continue":
                found.append(_raise(_Continue))
            elif text:
                found.append(_action(_Tokens(text, self.names)))
        return found, ""

    def _inner(self) -> tuple[_Block, str]:
        """A block with variables of its own."""
        self.names.variables.append(set())
        try:
            return self.block()
        finally:
            self.names.variables.pop()

    def _closed(self) -> _Block:
        block, by = self._inner()
        if by != "end":
            raise TemplateError("a block is not closed by {{ end }}")
        return block

    def _control(self, word: str, head: str) -> _Render:
        make = {"if": _if, "with": _with, "range": _range}.get(word)
        if make is None:
            raise TemplateError(f"unexpected {{{{ else {word} }}}}")
        self.names.variables.append(set())
        try:
            return self._blocks(word, make(_Tokens(head, self.names)))
        finally:
            self.names.variables.pop()

    def _blocks(self, word: str, complete: Callable[[_Block, _Block], _Render]) -> _Render:
        """After the head of a control, which has said what to do with them."""
        block, by = self._inner()
        otherwise: _Block = []
        if by == "else":
            otherwise = self._closed()
        elif by.startswith("else "):
            inner, _, rest = by.removeprefix("else").strip().partition(" ")
            otherwise = [self._control(inner, rest)]
        elif by != "end":
            raise TemplateError(f"{{{{ {word} }}}} is not closed by {{{{ end }}}}")
        return complete(block, otherwise)

    def _call(self, text: str) -> _Render:
        tokens = _Tokens(text, self.names)
        name = tokens.string()
        self.names.templates.add(name)
        argument = tokens.pipeline() if tokens.peek() is not None else None
        tokens.end()

        def render(scope: _Scope, dot: Any) -> None:
            block = scope.defined[name]
            inner = argument(scope, dot) if argument is not None else None
            outer, scope.variables = scope.variables, [{"$": inner}]
            if len(scope.out) > MOST_OUTPUT:
                raise TemplateError("the template gives too much output")
            try:
                _render(block, scope, inner)
            except RecursionError as e:
                raise TemplateError(f"template {name!r} calls itself without end") from e
            finally:
                scope.variables = outer

        return render


def _parts(text: str) -> Iterator[tuple[str, str]]:
    at, trims = 0, False
    for found in _ACTION.finditer(text):
        piece = text[at : found.start()]
        piece = piece.lstrip() if trims else piece
        yield "text", piece.rstrip() if found[1] else piece
        inner = found[2]
        if not inner.startswith("/*"):
            yield "action", " ".join(inner.split()) if '"' not in inner and "`" not in inner else inner
        at, trims = found.end(), bool(found[3])
    rest = text[at:]
    if "{{" in rest:
        raise TemplateError("an action is not closed by }}")
    yield "text", rest.lstrip() if trims else rest


def _text(text: str) -> _Render:
    return lambda scope, dot: scope.write(text)


def _raise(kind: type[Exception]) -> _Render:
    def render(scope: _Scope, dot: Any) -> None:
        raise kind

    return render


def _action(tokens: _Tokens) -> _Render:
    name, assigns = tokens.assignment()
    value = tokens.pipeline()
    tokens.end()
    tokens.define(name, assigns)

    def render(scope: _Scope, dot: Any) -> None:
        found = value(scope, dot)
        if assigns == ":=":
            scope.variables[-1][name] = found
        elif assigns == "=":
            scope.set(name, found)
        else:
            scope.write(shown(found))

    return render


def _if(tokens: _Tokens) -> Callable[[_Block, _Block], _Render]:
    return _branch(tokens, moves=False)


def _with(tokens: _Tokens) -> Callable[[_Block, _Block], _Render]:
    return _branch(tokens, moves=True)


def _branch(tokens: _Tokens, *, moves: bool) -> Callable[[_Block, _Block], _Render]:
    name, assigns = tokens.assignment()
    value = tokens.pipeline()
    tokens.end()
    tokens.define(name, assigns)

    def complete(block: _Block, otherwise: _Block) -> _Render:
        def render(scope: _Scope, dot: Any) -> None:
            found = value(scope, dot)
            scope.variables.append({name: found} if assigns else {})
            try:
                if truth(found):
                    _render(block, scope, found if moves else dot)
                else:
                    _render(otherwise, scope, dot)
            finally:
                scope.variables.pop()

        return render

    return complete


def _range(tokens: _Tokens) -> Callable[[_Block, _Block], _Render]:
    names = tokens.loop_names()
    value = tokens.pipeline()
    tokens.end()
    for name in names:
        tokens.define(name, ":=")

    def complete(block: _Block, otherwise: _Block) -> _Render:
        def render(scope: _Scope, dot: Any) -> None:
            pairs = _pairs(value(scope, dot))
            if not pairs:
                _render(otherwise, scope, dot)
            for key, each in pairs:
                given = (key, each) if len(names) == 2 else (each,)
                scope.variables.append(dict(zip(names, given, strict=False)))
                try:
                    _render(block, scope, each)
                except _Break:
                    break
                except _Continue:
                    continue
                finally:
                    scope.variables.pop()

        return render

    return complete


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        if value > MOST_TURNS:
            raise TemplateError(f"range over {value} is too long")
        return [(i, i) for i in range(value)]
    if value is None or value == "":
        return []
    raise TemplateError(f"range can't iterate over {value}")


class _Tokens:
    """The words of one action."""

    def __init__(self, text: str, names: _Names) -> None:
        self._names = names
        self._text, self._found, at = text, list[tuple[str, str, bool]](), 0
        end = len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise TemplateError(f"unexpected {text[at:].strip()[:1]!r} in {{{{ {text} }}}}")
            is_close = match.start(match.lastgroup) == at and at > 0
            self._found.append((match.lastgroup, match.group(match.lastgroup), is_close))
            at = match.end()
        self._at = 0

    def peek(self) -> tuple[str, str, bool] | None:
        return self._found[self._at] if self._at < len(self._found) else None

    def _take(self, kind: str, text: str = "") -> str | None:
        token = self.peek()
        if token is None or token[0] != kind or (text and token[1] != text):
            return None
        self._at += 1
        return token[1]

    def end(self) -> None:
        if (token := self.peek()) is not None:
            raise TemplateError(f"unexpected {token[1]!r} in {{{{ {self._text} }}}}")

    def string(self) -> str:
        found = self._take("string")
        if found is None:
            raise TemplateError(f"a name in quotes is missing in {{{{ template {self._text} }}}}")
        return _unquoted(found)

    def assignment(self) -> tuple[str, str]:
        if len(self._found) > 1 and self._found[0][0] == "variable" and self._found[1][1] in (":=", "="):
            self._at = 2
            return self._found[0][1], self._found[1][1]
        return "", ""

    def define(self, name: str, assigns: str) -> None:
        """After its value was read, which does not see it yet."""
        if assigns == ":=":
            self._names.variables[-1].add(name)
        elif assigns:
            self._names.see(name)

    def loop_names(self) -> list[str]:
        texts = [text for _, text, _ in self._found[:4]]
        if ":=" not in texts:
            return []
        at = texts.index(":=")
        self._at = at + 1
        return [text for text in texts[:at] if text != ","]

    def pipeline(self) -> _Value:
        value = self._command(None)
        while self._take("op", "|") is not None:
            value = self._command(value)
        return value

    def _command(self, piped: _Value | None) -> _Value:
        name = self._take("name")
        if name is not None and name not in ("true", "false", "nil"):
            arguments: list[_Value] = []
            while (argument := self._operand()) is not None:
                arguments.append(argument)
            return self._called(name, [*arguments, piped] if piped is not None else arguments)
        if name is not None:
            self._at -= 1
        value = self._operand()
        if value is None or piped is not None:
            raise TemplateError(f"a function is missing in {{{{ {self._text} }}}}")
        return value

    def _operand(self) -> _Value | None:
        token = self.peek()
        if token is None:
            return None
        kind, text, _ = token
        if kind == "op" and text != "(":
            return None
        self._at += 1
        value: _Value
        if kind == "op":
            value = self.pipeline()
            if self._take("op", ")") is None:
                raise TemplateError(f"a ) is missing in {{{{ {self._text} }}}}")
        elif kind == "string":
            value = _constant(_unquoted(text))
        elif kind == "number":
            value = _constant(float(text) if "." in text else int(text))
        elif kind == "variable":
            self._names.see(text)
            value = lambda scope, dot: scope.get(text)  # noqa: E731  one of several ways to make one
        elif kind == "dot":
            return lambda scope, dot: dot
        elif kind == "field":
            value = lambda scope, dot: _member(dot, text[1:])  # noqa: E731
        elif text in ("true", "false", "nil"):
            return _constant({"true": True, "false": False, "nil": None}[text])
        else:
            value = self._called(text, [])
        while (token := self.peek()) is not None and token[0] == "field" and token[2]:
            self._at += 1
            value = _of(value, token[1][1:])
        return value

    def _called(self, name: str, arguments: Sequence[_Value]) -> _Value:
        self._names.calls.add((name, len(arguments)))
        return _called(name, arguments)


def _constant(value: Any) -> _Value:
    return lambda scope, dot: value


def _of(value: _Value, name: str) -> _Value:
    return lambda scope, dot: _member(value(scope, dot), name)


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _called(name: str, arguments: Sequence[_Value]) -> _Value:
    def value(scope: _Scope, dot: Any) -> Any:
        function = scope.functions.get(name)
        if function is None:
            raise TemplateError(f"function {name!r} not defined")
        given = [argument(scope, dot) for argument in arguments]
        try:
            return function(*given)
        except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError) as e:
            raise TemplateError(f"error calling {name}: {e}") from e

    return value


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])


def truth(value: Any) -> bool:
    """As Go: nothing, zero and what is empty are false."""
    return bool(value)


def shown(value: Any) -> str:
    """As Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{shown(v)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            return None
        if isinstance(value, dict):
            value = value.get(key)
        else:
            value = value[key] if 0 <= key < len(value) else None
    return value


def _or(*values: Any) -> Any:
    return next((v for v in values if truth(v)), values[-1])


def _and(*values: Any) -> Any:
    return next((v for v in values if not truth(v)), values[-1])


def _printf(form: str, *values: Any) -> str:
    found = list(values)

    def one(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value = found.pop(0)
        if match[2] in "vs":
            return shown(value)
        if match[2] == "q":
            return f'"{value}"'
        return str(f"%{match[1]}{match[2]}" % value)

    return re.sub(r"%([-+0-9.]*)([a-z%])", one, form)


def _equal(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


BUILTIN: Mapping[str, Function] = {
    "and": _and,
    "or": _or,
    "not": lambda v: not truth(v),
    "eq": _equal,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "len": len,
    "index": _index,
    "print": lambda *v: "".join(map(shown, v)),
    "printf": _printf,
}

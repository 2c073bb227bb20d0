"""Calls as Python source: written out where types are known, looked up by the values' types where they are not.

Upstream's costs of each call are charged with it; see `charges`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timonel.machinery.cel import charges, operators, runtime
from timonel.machinery.cel.ast import Call, Const, ListNode, MapNode, Node
from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload
from timonel.machinery.cel.operators import has
from timonel.machinery.cel.types import Type
from timonel.machinery.cel.values import contains, equals

if TYPE_CHECKING:
    from timonel.machinery.cel.code import Generator

__all__ = ["SAFE", "call", "has", "is_constant_text"]

SAFE = frozenset(
    ("!_", "_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_", "size", "startsWith", "endsWith", "contains")
)
_NUMERIC = frozenset(("int", "uint", "double"))
_OPEN = frozenset(("dyn", "error", "param"))
_PLAIN = frozenset(("string", "bytes", "bool", "null", "timestamp", "duration", "type"))
_COMPARE = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_COMPARE_ANY = {
    "_<_": operators.less,
    "_<=_": operators.less_equal,
    "_>_": operators.greater,
    "_>=_": operators.greater_equal,
}
_FOLDED = frozenset(
    (
        "quantity",
        "ip",
        "cidr",
        "semver",
        "url",
        "timestamp",
        "duration",
        "format.named",
        "int",
        "double",
        "string",
    )
)


def is_constant_text(text: str) -> bool:
    """Whether evaluating the text again, or later, makes no difference."""
    return text.isidentifier() or text[:1] in "'\"" or text.lstrip("-").replace(".", "", 1).isdigit()


def call(code: Generator, node: Call) -> str:
    operands = node.args if node.target is None else [node.target, *node.args]
    if node.function == "_?._":
        code.charge(1 + code.starts_path(node.args[0]))
        name = node.args[1]
        key = _field_key(node.args[0].type, name.value) if isinstance(name, Const) else ""
        operand = code.settled(code.emit(node.args[0]))
        selected = f"{code.constant(operators.optional_select, 'optional_select')}({operand}, {key!r})"
        if node.type.unwrapped().nullable:
            selected = f"{code.constant(runtime.without_null, 'without_null')}({selected})"
        return code.converted(selected, node.type)
    folded = _folded(code, node, operands)
    if folded is not None:
        return folded
    cost = charges.of_call(node, operands)
    texts = code.sequence(operands, keep=callable(cost))
    if node.function in ("_[_]", "_[?_]"):
        code.charge(code.starts_path(operands[0]) - charges.is_attribute(operands[1]))
    if isinstance(cost, int):
        code.charge(cost)
    writer = _WRITERS.get(node.function)
    text = writer(code, node, operands, texts) if writer is not None else None
    if text is None:
        text = _plain(code, node, operands, texts)
    if callable(cost):
        if charges.needs_result(node.function):
            text = code.store(text)
            code.charge_value(cost(*texts, text))
        else:
            code.charge_value(cost(*texts))
    return text


def _field_key(of: Type, field: str) -> str:
    known = of.unwrapped().field(field)
    return known.key if known is not None else field


def _folded(code: Generator, node: Call, operands: list[Node]) -> str | None:
    """A call of a pure function on literals, made once; what fails is left to fail when it runs."""
    if node.function not in _FOLDED or len(node.resolved or ()) != 1:
        return None
    if not operands or not all(isinstance(one, Const) for one in operands):
        return None
    values = [one.value for one in operands if isinstance(one, Const)]
    try:
        value = node.resolved[0].run(*values)
    except runtime.ERRORS:
        return None
    cost = charges.of_call(node, operands)
    code.charge(cost if isinstance(cost, int) else charges.of_values(node.function, values))
    return code.constant(value)


def _plain(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    """A function's call; values from trees are converted before they are handed over whole."""
    chosen: tuple[Overload, ...] = node.resolved or ()
    args = [_whole(code, operand, text) for operand, text in zip(operands, texts, strict=True)]
    known = len(chosen) == 1 and all(
        _settled(of.type, to) for of, to in zip(operands, chosen[0].args, strict=True)
    )
    run: Any = chosen[0].run if known else runtime.Dispatch(node.function, chosen)
    return f"{code.constant(run)}({', '.join(args)})"


def _settled(of: Type, wanted: Type) -> bool:
    """Whether values of a static type need no look before they go where `wanted` is declared."""
    if wanted.kind in _OPEN:
        return True
    if of.kind in _OPEN:
        return False
    return all(_settled(inner, other) for inner, other in zip(of.params, wanted.params, strict=False))


def _whole(code: Generator, node: Node, text: str) -> str:
    if node.type.kind not in ("list", "map", "object") or isinstance(node, (ListNode, MapNode)):
        return text
    convert = runtime.converter(node.type)
    return text if convert is None else f"{code.constant(convert)}({text})"


def _compare(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    left, right = (one.type.kind for one in operands)
    if (left in _NUMERIC and right in _NUMERIC) or (left == right and left not in _OPEN):
        symbol = _COMPARE[node.function]
        if symbol in "<=" or left in _NUMERIC or left in ("string", "bytes", "bool"):
            return f"({texts[0]} {symbol} {texts[1]})"
        return f"({texts[1]} {symbol.replace('>', '<')} {texts[0]})"
    run = _COMPARE_ANY[node.function]
    return f"{code.constant(run, run.__name__)}({', '.join(texts)})"


def _equal(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    negated = node.function == "_!=_"
    left, right = operands
    kinds = (left.type.kind, right.type.kind)
    symbol = "!=" if negated else "=="
    if "null" in kinds:
        return f"({texts[0]} {'is not' if negated else 'is'} {texts[1]})"
    if (
        all(kind in _NUMERIC for kind in kinds)
        or (kinds[0] == kinds[1] and kinds[0] in _PLAIN)
        or "string" in kinds
    ):
        return f"({texts[0]} {symbol} {texts[1]})"
    unordered = runtime.comparer(left.type) or runtime.comparer(right.type)
    if unordered is not None:
        text = f"{code.constant(unordered)}({texts[0]}, {texts[1]})"
    else:
        args = [_whole(code, operand, text) for operand, text in zip(operands, texts, strict=True)]
        text = f"{code.constant(equals, 'equals')}({', '.join(args)})"
    return f"(not {text})" if negated else text


def _kinds(operands: list[Node]) -> str:
    return " ".join(one.type.kind for one in operands)


def _add(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    kinds = _kinds(operands)
    left, right = texts
    if kinds == "int int":
        return f"{code.constant(operators.checked_int, 'checked_int')}({left} + {right})"
    if kinds in ("string string", "double double", "bytes bytes"):
        return f"({left} + {right})"
    if kinds == "list list":
        special = next((one.type for one in operands if one.type.list_type in ("set", "map")), None)
        if special is not None:
            return f"{code.constant(runtime.joiner(special))}({left}, {right})"
        return f"[*{left}, *{right}]"
    return f"{code.constant(operators.add, 'add')}({left}, {right})"


def _subtract(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    kinds = _kinds(operands)
    if kinds == "int int":
        return f"{code.constant(operators.checked_int, 'checked_int')}({texts[0]} - {texts[1]})"
    if kinds == "double double":
        return f"({texts[0]} - {texts[1]})"
    return f"{code.constant(operators.subtract, 'subtract')}({texts[0]}, {texts[1]})"


def _multiply(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    kinds = _kinds(operands)
    if kinds == "int int":
        return f"{code.constant(operators.checked_int, 'checked_int')}({texts[0]} * {texts[1]})"
    if kinds == "double double":
        return f"({texts[0]} * {texts[1]})"
    return f"{code.constant(operators.multiply, 'multiply')}({texts[0]}, {texts[1]})"


def _helper(name: str) -> Any:
    run = getattr(operators, name)

    def write(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
        return f"{code.constant(run, name)}({', '.join(texts)})"

    return write


def _invert(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    if operands[0].type.kind == "bool":
        return f"(not {texts[0]})"
    return f"{code.constant(operators.invert, 'invert')}({texts[0]})"


def _index(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    container, key = operands
    if container.type.kind == "map" and key.type.kind == "string":
        text = f"{texts[0]}[{texts[1]}]"
    else:
        text = f"{code.constant(operators.index, 'index')}({', '.join(texts)})"
    return code.converted(text, node.type)


def _optional_index(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    select = code.constant(operators.optional_select, "optional_select")
    return code.converted(f"{select}({', '.join(texts)})", node.type)


def _in(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    value, container = (one.type.kind for one in operands)
    if value == "string" and container in ("list", "map"):
        return f"({texts[0]} in {texts[1]})"
    args = [texts[0], _whole(code, operands[1], texts[1])]
    return f"{code.constant(contains, 'contains')}({', '.join(args)})"


def _size(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str | None:
    return f"len({texts[0]})" if operands[0].type.kind not in _OPEN else None


def _if_text(code: Generator, node: Call, operands: list[Node], texts: list[str], text: str) -> str:
    """The text's value where all operands are strings, whether that is known now or seen then."""
    unsure = [name for one, name in zip(operands, texts, strict=True) if one.type.kind != "string"]
    if not unsure:
        return text
    tests = " and ".join(f"type({name}) is str" for name in unsure)
    return f"({text} if {tests} else {_plain(code, node, operands, texts)})"


def _text(method: str) -> Any:
    def write(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str | None:
        if any(one.type.kind not in ("string", "dyn") for one in operands):
            return None
        text = f"({texts[1]} in {texts[0]})" if method == "contains" else f"{texts[0]}.{method}({texts[1]})"
        return _if_text(code, node, operands, texts, text)

    return write


def _matches(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str | None:
    text, pattern = operands
    if text.type.kind not in ("string", "dyn") or not isinstance(pattern, Const):
        return None
    from timonel.machinery.cel.library.regex import compiled

    try:
        search = compiled(pattern.value).search
    except EvaluationError:
        return None
    return _if_text(code, node, operands, texts, f"({code.constant(search)}({texts[0]}) is not None)")


def _same(code: Generator, node: Call, operands: list[Node], texts: list[str]) -> str:
    return texts[0]


_WRITERS: dict[str, Any] = {
    **dict.fromkeys(_COMPARE, _compare),
    "_==_": _equal,
    "_!=_": _equal,
    "_+_": _add,
    "_-_": _subtract,
    "_*_": _multiply,
    "_/_": _helper("divide"),
    "_%_": _helper("modulo"),
    "-_": _helper("negate"),
    "!_": _invert,
    "_[_]": _index,
    "_[?_]": _optional_index,
    "@in": _in,
    "size": _size,
    "startsWith": _text("startswith"),
    "endsWith": _text("endswith"),
    "contains": _text("contains"),
    "matches": _matches,
    "dyn": _same,
}

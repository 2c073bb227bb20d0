"""What calls cost at run time: a number where it is fixed, else Python source over the arguments' names.

Upstream: cel-go interpreter/runtimecost.go; apiserver/pkg/cel/library/cost.go (CallCost).
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

from timonel.machinery.cel.ast import Call, Const, Ident, ListNode, MapNode, Node, Select
from timonel.machinery.cel.types import Type
from timonel.machinery.cel.values import size_of, traversal_size

TEXT = 0.1
REGEX = 0.25
CHECK = 350_000
Cost = int | Callable[..., str]

_SIZED = frozenset(("string", "bytes", "list", "map"))
_SCALAR = frozenset(("int", "uint", "double", "bool", "null", "timestamp", "duration", "type"))
_TRAVERSES = frozenset(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"))
_CONVERSIONS = frozenset(
    ("bool", "bytes", "double", "dyn", "duration", "int", "string", "timestamp", "type", "uint")
)
_ONCE = frozenset(
    (
        "url",
        "lowerAscii",
        "upperAscii",
        "substring",
        "trim",
        "cidr",
        "isIP",
        "isCIDR",
        "ip",
        "quantity",
        "isQuantity",
        "semver",
        "isSemver",
        "jsonpatch.escapeKey",
        "strings.quote",
    )
)
_TWICE = frozenset(("replace", "split", "ip.isCanonical"))
_FIRST = frozenset(("startsWith", "endsWith"))
_COMPARES = frozenset(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"))
_FREE = frozenset(("_&&_", "_||_", "_?_:_"))


def tenth(size: int) -> int:
    return (size + 9) // 10


def _len(of: Type, text: str) -> str:
    if of.kind in _SIZED:
        return f"len({text})"
    return "1" if of.kind in _SCALAR else f"size_of({text})"


def of_call(node: Call, operands: list[Node]) -> Cost:
    """The charge for one call; a function gets the names of the arguments (and of the result, see needs_result)."""
    function = node.function
    kinds = [one.type for one in operands]
    if function in _FREE or is_constant(node):
        return 0
    if function == "check":
        return CHECK
    if function in _COMPARES:
        return _comparison(operands)
    if function == "_+_":
        if kinds[0].kind in ("string", "bytes") or kinds[1].kind in ("string", "bytes"):
            return lambda left, right: f"({_len(kinds[0], left)} + {_len(kinds[1], right)} + 9) // 10"
        return 1
    if function == "@in":
        of = kinds[1]
        if of.kind == "list" and is_constant(operands[1]):
            return 0
        return 1 if of.kind == "map" else lambda value, container: _len(of, container)
    if function in _FIRST or (function in _ONCE and not (function == "ip" and kinds[0].kind == "opaque")):
        return lambda text, *rest: f"({_len(kinds[0], text)} + 9) // 10"
    if (
        function in ("string", "bytes")
        and kinds[0].kind in ("string", "bytes", "dyn")
        and function != kinds[0].kind
    ):
        return lambda text: f"({_len(kinds[0], text)} + 9) // 10"
    if function in _TWICE:
        return lambda text, *rest: f"({_len(kinds[0], text)} * 2 + 9) // 10"
    if function in _TRAVERSES:
        return lambda value, *rest: f"traversal_size({value})"
    if function == "join":
        return lambda *texts: f"({_len(node.type, texts[-1])} * 2 + 9) // 10"
    if function in ("matches", "find", "findAll"):
        return lambda text, pattern, *rest: (
            f"((1 + {_len(kinds[0], text)} + 9) // 10) * (({_len(kinds[1], pattern)} + 3) // 4)"
        )
    if function == "contains" and kinds[0].kind in ("string", "dyn"):
        return lambda text, part: (
            f"(({_len(kinds[0], text)} + 9) // 10) * (({_len(kinds[1], part)} + 9) // 10)"
        )
    if function in ("containsIP", "containsCIDR"):
        return lambda of, other: f"contains_cost({of}, {other}, {function == 'containsCIDR'})"
    if function == "validate":
        return lambda of, text: f"validate_cost({of}, {text})"
    if function in ("fieldSelector", "labelSelector"):
        return lambda of, text: f"selector_cost({text})"
    if function == "lists.range":
        return lambda count: f"1 + max({count}, 0)"
    if function in ("distinct", "sort", "@sortByAssociatedKeys"):
        return lambda of, *rest: f"1 + {_len(kinds[0], of)} ** 2"
    if function in ("flatten", "reverse", "slice"):
        return lambda of, *rest: f"1 + {_len(kinds[0], of)}"
    if function == "format":
        return lambda text, args: f"({_len(kinds[0], text)} + 9) // 10 + traversal_size({args})"
    if function.startswith("sets.") and len(kinds) == 2:
        return lambda left, right: f"1 + {_len(kinds[0], left)} * {_len(kinds[1], right)}"
    return 1


def _comparison(operands: list[Node]) -> Cost:
    if operands[0].type.kind == "opaque" and operands[0].type.name != "optional_type":
        return 1
    for one in operands:
        if isinstance(one, Const) and one.of.kind in ("string", "bytes"):
            # The shorter of the two counts, and this one is within the first unit.
            if len(one.value) <= 10:
                return 1 if one.value else 0
        elif one.type.kind in _SCALAR:
            return 1
    left, right = (one.type for one in operands)
    return lambda a, b: f"(min({_len(left, a)}, {_len(right, b)}) + 9) // 10"


def is_constant(node: Node) -> bool:
    """What upstream computes before it evaluates: literals, lists and maps of them, conversions of one."""
    if isinstance(node, Const):
        return True
    if isinstance(node, ListNode):
        return not node.optional and all(is_constant(elem) for elem in node.elems)
    if isinstance(node, MapNode):
        return all(
            is_constant(entry.key) and is_constant(entry.value) and not entry.optional
            for entry in node.entries
        )
    if isinstance(node, Call):
        return node.function in _CONVERSIONS and len(node.args) == 1 and is_constant(node.args[0])
    return False


def is_attribute(node: Node) -> bool:
    """A variable, or a path of fields and elements from one."""
    while True:
        if isinstance(node, Ident):
            return True
        if isinstance(node, Select) and not node.test:
            if node.qualified:
                return True
            node = node.operand
        elif isinstance(node, Call) and node.function in ("_[_]", "_?._", "_[?_]"):
            node = node.args[0]
        else:
            return False


def needs_result(function: str) -> bool:
    return function == "join"


def of_values(function: str, values: list[Any]) -> int:
    """The charge for a call that was made beforehand."""
    return ceil(size_of(values[0]) * TEXT) if function in _ONCE else 1


def validate_cost(of: Any, text: Any) -> int:
    """`validate` of a named format, as if by a pattern."""
    return tenth(1 + size_of(text)) * ceil(getattr(of, "pattern_size", 60) * REGEX)


def selector_cost(text: Any) -> int:
    size = size_of(text)
    return 10 + tenth(size) + ceil(size * 0.5) * 50


def contains_cost(of: Any, other: Any, whole: bool) -> int:
    """`containsIP` and `containsCIDR`: bytes compared, and a text parsed first."""
    size = size_of(of)
    cost = ceil(2 * size * TEXT)
    if whole:
        cost += ceil(size * TEXT) + 1
    return cost + (ceil(len(other) * TEXT) if isinstance(other, str) else 0)


GLOBALS: dict[str, Any] = {
    "size_of": size_of,
    "traversal_size": traversal_size,
    "contains_cost": contains_cost,
    "validate_cost": validate_cost,
    "selector_cost": selector_cost,
}

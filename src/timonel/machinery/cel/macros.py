"""Macros: calls that are written out as folds (or selections) before anything is checked.

Their shape is cel-go's, node for node, since types and costs follow from it. The compiler reads `macro` and `parts`
instead and makes a plain loop of each.

Upstream: cel-go parser/macro.go, ext/comprehensions.go, ext/bindings.go, cel/library.go (optMap, optFlatMap).
"""

from __future__ import annotations

from collections.abc import Callable

from timonel.machinery.cel import types
from timonel.machinery.cel.ast import (
    Call,
    Comprehension,
    Const,
    Entry,
    Ident,
    ListNode,
    MapNode,
    Node,
    Select,
)

ACCU = "@result"
NAMES = frozenset(
    [
        "has",
        "all",
        "exists",
        "exists_one",
        "existsOne",
        "map",
        "filter",
        "transformList",
        "transformMap",
        "transformMapEntry",
        "optMap",
        "optFlatMap",
        "bind",
        "sortBy",
    ]
)
COMPREHENSIONS = frozenset(("has", "all", "exists", "exists_one", "existsOne", "map", "filter"))
TWO_VARIABLES = frozenset(("two-variable",))
OPTIONALS = frozenset(("optMap", "optFlatMap"))
BINDINGS = frozenset(("bind",))


class MacroError(Exception):
    def __init__(self, pos: int, message: str) -> None:
        super().__init__(message)
        self.pos = pos


def expand(
    enabled: frozenset[str], pos: int, function: str, target: Node | None, args: list[Node]
) -> Node | None:
    """What a call stands for, or None when it is no macro."""
    if function not in NAMES:
        return None
    if target is None:
        return _has(pos, args[0]) if function == "has" and len(args) == 1 else None
    if function == "bind":
        is_bind = "bind" in enabled and isinstance(target, Ident) and target.name == "cel" and len(args) == 3
        return _bind(pos, args) if is_bind else None
    if function in OPTIONALS:
        return _optional(pos, function, target, args) if function in enabled and len(args) == 2 else None
    maker = _ONE.get((function, len(args)))
    if maker is not None:
        return maker(pos, target, args)
    if "two-variable" in enabled:
        maker = _TWO.get((function, len(args)))
        if maker is not None:
            return maker(pos, target, args)
    return None


def _simple(node: Node, message: str) -> str:
    if not isinstance(node, Ident):
        raise MacroError(node.pos, message)
    return node.name


def _variable(node: Node) -> str:
    name = _simple(node, "argument must be a simple name")
    if name in (ACCU, "__result__"):
        raise MacroError(node.pos, f"iteration variable overwrites accumulator variable: {name}")
    return name


def _variables(args: list[Node]) -> tuple[str, str]:
    first = _simple(args[0], "argument must be a simple name")
    second = _simple(args[1], "argument must be a simple name")
    if first == second:
        raise MacroError(args[1].pos, f"duplicate variable name: {first}")
    for name, node in ((first, args[0]), (second, args[1])):
        if name in (ACCU, "__result__"):
            raise MacroError(node.pos, f"iteration variable overwrites accumulator variable: {name}")
    return first, second


def _has(pos: int, arg: Node) -> Node:
    if not isinstance(arg, Select):
        raise MacroError(arg.pos, "invalid argument to has() macro")
    return Select(pos, arg.operand, arg.name, test=True)


def _accu(pos: int) -> Ident:
    return Ident(pos, ACCU)


def _true(pos: int) -> Const:
    return Const(pos, True, types.BOOL)


def _fold(
    pos: int,
    macro: str,
    target: Node,
    names: tuple[str, str],
    parts: tuple[Node, ...],
    *,
    init: Node,
    step: Node,
    condition: Node | None = None,
    result: Node | None = None,
) -> Comprehension:
    return Comprehension(
        pos,
        macro,
        parts,
        target,
        names[0],
        names[1],
        ACCU,
        init,
        condition if condition is not None else _true(pos),
        step,
        result if result is not None else _accu(pos),
    )


def _all(pos: int, target: Node, names: tuple[str, str], predicate: Node) -> Node:
    return _fold(
        pos,
        "all",
        target,
        names,
        (predicate,),
        init=_true(pos),
        condition=Call(pos, "@not_strictly_false", [_accu(pos)]),
        step=Call(pos, "_&&_", [_accu(pos), predicate]),
    )


def _exists(pos: int, target: Node, names: tuple[str, str], predicate: Node) -> Node:
    return _fold(
        pos,
        "exists",
        target,
        names,
        (predicate,),
        init=Const(pos, False, types.BOOL),
        condition=Call(pos, "@not_strictly_false", [Call(pos, "!_", [_accu(pos)])]),
        step=Call(pos, "_||_", [_accu(pos), predicate]),
    )


def _exists_one(pos: int, target: Node, names: tuple[str, str], predicate: Node) -> Node:
    one = Const(pos, 1, types.INT)
    return _fold(
        pos,
        "exists_one",
        target,
        names,
        (predicate,),
        init=Const(pos, 0, types.INT),
        step=Call(pos, "_?_:_", [predicate, Call(pos, "_+_", [_accu(pos), one]), _accu(pos)]),
        result=Call(pos, "_==_", [_accu(pos), Const(pos, 1, types.INT)]),
    )


def _collect(pos: int, target: Node, names: tuple[str, str], keep: Node | None, value: Node) -> Node:
    step: Node = Call(pos, "_+_", [_accu(pos), ListNode(pos, [value])])
    if keep is not None:
        step = Call(pos, "_?_:_", [keep, step, _accu(pos)])
    parts = (value,) if keep is None else (value, keep)
    return _fold(pos, "map", target, names, parts, init=ListNode(pos, []), step=step)


def _filter(pos: int, target: Node, args: list[Node]) -> Node:
    name = _variable(args[0])
    return _collect(pos, target, (name, ""), args[1], Ident(args[0].pos, name))


def _one(make: Callable[[int, Node, tuple[str, str], Node], Node]) -> Callable[[int, Node, list[Node]], Node]:
    return lambda pos, target, args: make(pos, target, (_variable(args[0]), ""), args[1])


def _two(make: Callable[[int, Node, tuple[str, str], Node], Node]) -> Callable[[int, Node, list[Node]], Node]:
    return lambda pos, target, args: make(pos, target, _variables(args), args[2])


def _transform_map(pos: int, target: Node, names: tuple[str, str], keep: Node | None, value: Node) -> Node:
    insert: Node = Call(pos, "cel.@mapInsert", [_accu(pos), Ident(pos, names[0]), value])
    return _into_map(pos, "transformMap", target, names, keep, value, insert)


def _transform_entry(pos: int, target: Node, names: tuple[str, str], keep: Node | None, value: Node) -> Node:
    insert: Node = Call(pos, "cel.@mapInsert", [_accu(pos), value])
    return _into_map(pos, "transformMapEntry", target, names, keep, value, insert)


def _into_map(
    pos: int, macro: str, target: Node, names: tuple[str, str], keep: Node | None, value: Node, insert: Node
) -> Node:
    step = insert if keep is None else Call(pos, "_?_:_", [keep, insert, _accu(pos)])
    parts = (value,) if keep is None else (value, keep)
    empty: list[Entry] = []
    return _fold(pos, macro, target, names, parts, init=MapNode(pos, empty), step=step)


def _filtered(
    make: Callable[[int, Node, tuple[str, str], Node | None, Node], Node],
) -> tuple[Callable[[int, Node, list[Node]], Node], Callable[[int, Node, list[Node]], Node]]:
    """The forms `f(i, v, value)` and `f(i, v, keep, value)`."""
    return (
        lambda pos, target, args: make(pos, target, _variables(args), None, args[2]),
        lambda pos, target, args: make(pos, target, _variables(args), args[2], args[3]),
    )


def _map3(pos: int, target: Node, args: list[Node]) -> Node:
    return _collect(pos, target, (_variable(args[0]), ""), args[1], args[2])


_SORTED = "@__sortBy_input__"


def _sort_by(pos: int, target: Node, args: list[Node]) -> Node:
    name = _simple(args[0], "sortBy can only be applied to a simple identifier")
    keys = _collect(pos, Ident(pos, _SORTED), (name, ""), None, args[1])
    return _binding(
        pos, "bind", _SORTED, target, Call(pos, "@sortByAssociatedKeys", [keys], Ident(pos, _SORTED))
    )


_ONE: dict[tuple[str, int], Callable[[int, Node, list[Node]], Node]] = {
    ("all", 2): _one(_all),
    ("exists", 2): _one(_exists),
    ("exists_one", 2): _one(_exists_one),
    ("existsOne", 2): _one(_exists_one),
    ("map", 2): _one(lambda pos, target, names, value: _collect(pos, target, names, None, value)),
    ("map", 3): _map3,
    ("filter", 2): _filter,
    ("sortBy", 2): _sort_by,
}
_TWO: dict[tuple[str, int], Callable[[int, Node, list[Node]], Node]] = {
    ("all", 3): _two(_all),
    ("exists", 3): _two(_exists),
    ("exists_one", 3): _two(_exists_one),
    ("existsOne", 3): _two(_exists_one),
    ("transformList", 3): _filtered(_collect)[0],
    ("transformList", 4): _filtered(_collect)[1],
    ("transformMap", 3): _filtered(_transform_map)[0],
    ("transformMap", 4): _filtered(_transform_map)[1],
    ("transformMapEntry", 3): _filtered(_transform_entry)[0],
    ("transformMapEntry", 4): _filtered(_transform_entry)[1],
}


def _binding(pos: int, macro: str, name: str, value: Node, body: Node) -> Comprehension:
    """A fold over nothing, whose result sees `value` under `name`."""
    never = Const(pos, False, types.BOOL)
    nothing = ListNode(pos, [])
    step = Ident(pos, name)
    return Comprehension(pos, macro, (value, body), nothing, "#unused", "", name, value, never, step, body)


def _bind(pos: int, args: list[Node]) -> Node:
    name = _simple(args[0], "cel.bind() variable names must be simple identifiers")
    return _binding(pos, "bind", name, args[1], args[2])


def _optional(pos: int, function: str, target: Node, args: list[Node]) -> Node:
    name = _simple(args[0], f"{function}() variable name must be a simple identifier")
    body: Node = _binding(pos, "bind", name, Call(pos, "value", [], target), args[1])
    if function == "optMap":
        body = Call(pos, "optional.of", [body])
    chosen = Call(pos, "_?_:_", [Call(pos, "hasValue", [], target), body, Call(pos, "optional.none", [])])
    chosen.shared = target
    return chosen

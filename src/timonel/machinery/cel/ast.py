"""The nodes of an expression, as the parser makes them and the checker annotates them.

`pos` is the offset (in code points) that messages point at: an operator's own place, a call's opening parenthesis, a
selection's dot. The checker writes `type` on every node and `overloads` on calls. Macros are comprehensions, as in
cel-go, so that types and costs come out the same; what the macro was is kept beside it for the compiler.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from timonel.machinery.cel.types import DYN, Type
from timonel.records import dataclass


@dataclass(slots=True, eq=False)
class Node:
    pos: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Const(Node):
    """A literal; the type tells an int from a uint."""

    value: Any
    of: Type


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.name`, or `has(operand.name)` when `test`."""

    operand: Node
    name: str
    test: bool = False
    qualified: str = field(default="", init=False)
    """The variable's or type's whole name, when the checker found the chain to be one."""


@dataclass(slots=True, eq=False)
class Call(Node):
    function: str
    args: list[Node]
    target: Node | None = None
    overloads: tuple[str, ...] = field(default=(), init=False)
    resolved: Any = field(default=None, init=False)
    """The overloads that the types leave."""
    shared: Node | None = field(default=None, init=False)
    """A node that stands in two places of this call (`optMap`): evaluated once."""


@dataclass(slots=True, eq=False)
class ListNode(Node):
    elems: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Entry:
    pos: int
    key: Node
    value: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class MapNode(Node):
    entries: list[Entry]


@dataclass(slots=True, eq=False)
class FieldEntry:
    pos: int
    name: str
    value: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class StructNode(Node):
    name: str
    entries: list[FieldEntry]


@dataclass(slots=True, eq=False)
class Comprehension(Node):
    """A fold; `macro` and `parts` (the predicate, the transform) say which macro it came from."""

    macro: str
    parts: tuple[Node, ...]
    range: Node
    var: str
    var2: str
    accu: str
    init: Node
    condition: Node
    step: Node
    result: Node

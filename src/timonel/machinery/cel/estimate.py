"""What an expression can cost at least and at most, from its shape and from how large values can get.

The sizes of what the environment declares come from the types (`max_elements`), found by the path that an expression
takes through them.

Upstream: cel-go checker/cost.go; the size estimator of apiextensions' schema/cel/compilation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from timonel.machinery.cel import callcosts
from timonel.machinery.cel.ast import (
    Call,
    Comprehension,
    Const,
    Ident,
    ListNode,
    MapNode,
    Node,
    Select,
    StructNode,
)
from timonel.machinery.cel.bounds import EMPTY, NONE, ONE, UNKNOWN, Range, fixed
from timonel.machinery.cel.macros import ACCU
from timonel.machinery.cel.types import Type
from timonel.records import dataclass

Path = tuple[str, ...] | None
_SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The range of an expression's cost."""

    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Entries:
    """How large the keys and the values of a list or map are."""

    kind: str
    key: Range
    value: Range

    def union(self, other: Entries | None) -> Entries | None:
        if other is None:
            return None
        return Entries(self.kind, self.key.union(other.key), self.value.union(other.value))


@dataclass(frozen=True, slots=True)
class _Local:
    path: Path
    size: Range | None
    entries: Entries | None


def estimate(root: Node, declared: Mapping[str, Type]) -> Estimate:
    cost = Coster(declared).cost(root)
    return Estimate(cost.min, cost.max)


class Coster:
    def __init__(self, declared: Mapping[str, Type]) -> None:
        self.declared = declared
        self.paths: dict[int, Path] = {}
        self.sizes: dict[int, Range] = {}
        self.entries: dict[int, Entries] = {}
        self.locals: dict[str, list[_Local]] = {}
        self.twice: dict[int, Range] = {}
        """The costs of nodes that a macro has put in two places."""

    def cost(self, node: Node) -> Range:
        if id(node) in self.twice:
            return self.twice[id(node)]
        return _HANDLERS[type(node)](self, node)

    def push(self, name: str, local: _Local) -> None:
        self.locals.setdefault(name, []).append(local)

    def local(self, name: str) -> _Local | None:
        stack = self.locals.get(name)
        return stack[-1] if stack else None

    def path(self, node: Node) -> Path:
        if isinstance(node, Ident):
            known = self.local(node.name)
            if known is not None:
                return known.path
        return self.paths.get(id(node))

    def size(self, node: Node) -> Range | None:
        """The number of elements (characters, entries) of a node's value, if anything is known about it."""
        known = self.sizes.get(id(node))
        if known is not None:
            return known
        written = _written_size(node)
        if written is not None:
            return written
        declared = self.declared_size(self.path(node))
        if declared is not None:
            self.sizes[id(node)] = declared
            return declared
        if _is_scalar(node.type):
            return ONE
        if isinstance(node, Ident):
            local = self.local(node.name)
            if local is not None:
                return local.size
        return None

    def size_or_unknown(self, node: Node) -> Range:
        size = self.size(node)
        return UNKNOWN if size is None else size

    def declared_size(self, path: Path) -> Range | None:
        if not path:
            return None
        # A path that starts at no variable is taken to start at self, as upstream does.
        at = self.declared.get(path[0]) or self.declared.get("self")
        if at is not None and at.kind == "opaque" and at.params:
            at = at.params[0]
        for name in path[1:]:
            if at is None:
                return None
            if name in ("@items", "@values"):
                at = at.params[-1] if at.kind in ("list", "map") else None
            elif name == "@keys":
                at = at.params[0] if at.kind == "map" else None
            else:
                field = at.field(name)
                at = None if field is None else field.type
        return None if at is None else Range(0, at.max_elements)

    def entries_of(self, node: Node) -> Entries | None:
        known = self.entries.get(id(node))
        if known is None and isinstance(node, Ident):
            local = self.local(node.name)
            if local is not None:
                return local.entries
        return known

    def const(self, node: Const) -> Range:
        return NONE

    def ident(self, node: Ident) -> Range:
        known = self.local(node.name)
        self.paths[id(node)] = known.path if known is not None else (node.name,)
        return ONE

    def select(self, node: Select) -> Range:
        total = self.cost(node.operand)
        if node.test:
            return total
        if node.operand.type.kind in ("map", "object", "param"):
            total += ONE
        self.paths[id(node)] = (*(self.path(node.operand) or ()), node.name)
        return total

    def call(self, node: Call) -> Range:
        if node.shared is not None:
            self.twice[id(node.shared)] = self.cost(node.shared)
        if node.function == "dyn" and node.target is None:
            total = self.cost(node.args[0]) + ONE
            self.copy(node, node.args[0])
            return total
        costs = [self.cost(arg) for arg in node.args]
        if not node.overloads:
            return NONE
        total = NONE if node.target is None else self.cost(node.target)
        worst = EMPTY
        size: Range | None = None
        for overload in node.overloads:
            charged, result = callcosts.of(self, node, overload, costs)
            worst = worst.union(charged)
            if result is not None:
                size = result if size is None else size.union(result)
            if overload in ("index_list", "index_map"):
                entries = self.entries_of(node.args[0])
                size = None if entries is None else entries.value
                step = "@items" if overload == "index_list" else "@values"
                self.paths[id(node)] = (*(self.path(node.args[0]) or ()), step)
            if size is None:
                size = self.size(node)
        if size is not None:
            self.sizes[id(node)] = size
        return total + worst

    def copy(self, node: Node, source: Node) -> None:
        size, entries = self.size(source), self.entries_of(source)
        if size is not None:
            self.sizes[id(node)] = size
        if entries is not None:
            self.entries[id(node)] = entries

    def list_literal(self, node: ListNode) -> Range:
        total = fixed(10)
        values = EMPTY if node.elems else NONE
        for elem in node.elems:
            total += self.cost(elem)
            values = values.union(self.size_or_unknown(elem))
        self.entries[id(node)] = Entries("list", ONE, values)
        return total

    def map_literal(self, node: MapNode) -> Range:
        total = fixed(30)
        keys = values = EMPTY if node.entries else NONE
        for entry in node.entries:
            total += self.cost(entry.key) + self.cost(entry.value)
            keys = keys.union(self.size_or_unknown(entry.key))
            values = values.union(self.size_or_unknown(entry.value))
        self.entries[id(node)] = Entries("map", keys, values)
        return total

    def struct(self, node: StructNode) -> Range:
        total = fixed(40)
        for entry in node.entries:
            total += self.cost(entry.value)
        return total

    def comprehension(self, node: Comprehension) -> Range:
        if node.macro == "bind":
            return self.bind(node)
        total = self.cost(node.range) + self.cost(node.init)
        self.push(node.accu, self.local_of(node.init))
        names = self.push_variables(node)
        step = self.cost(node.condition) + self.cost(node.step)
        for name in names:
            self.locals[name].pop()
        total += self.cost(node.result)
        self.locals[node.accu].pop()
        count = self.size_or_unknown(node.range)
        total += count * step
        if isinstance(node.init, Const):
            size = self.size(node.init)
            if size is not None:
                self.sizes[id(node)] = size
        else:
            self.sizes[id(node)] = count
            entries = self.entries_of(node.step)
            if entries is not None:
                self.entries[id(node)] = entries
        return total

    def local_of(self, node: Node) -> _Local:
        return _Local(self.path(node), self.size(node), self.entries_of(node))

    def push_variables(self, node: Comprehension) -> list[str]:
        entries = self.entries_of(node.range)
        is_list = (entries.kind if entries is not None else node.range.type.kind) == "list"
        path = self.path(node.range) or ()
        key = None if entries is None else entries.key
        value = None if entries is None else entries.value
        if node.var2:
            self.push(node.var, _Local((*path, "@indices" if is_list else "@keys"), key, None))
            self.push(node.var2, _Local((*path, "@items" if is_list else "@values"), value, None))
            return [node.var, node.var2]
        if is_list:
            self.push(node.var, _Local((*path, "@items"), value, None))
        else:
            self.push(node.var, _Local((*path, "@keys"), key, None))
        return [node.var]

    def bind(self, node: Comprehension) -> Range:
        total = self.cost(node.range) + self.cost(node.init)
        self.push(node.accu, self.local_of(node.init))
        total += self.cost(node.result)
        self.locals[node.accu].pop()
        self.copy(node, node.result)
        return total

    def visible_path(self, node: Node) -> Path:
        """The path as function costs see it: none through an accumulator."""
        path = self.path(node)
        return None if path and path[0] == ACCU else path


def _written_size(node: Node) -> Range | None:
    if isinstance(node, Const):
        return fixed(len(node.value)) if isinstance(node.value, (str, bytes)) else ONE
    if isinstance(node, ListNode):
        return fixed(len(node.elems))
    return fixed(len(node.entries)) if isinstance(node, MapNode) else None


def _is_scalar(of: Type) -> bool:
    if of.kind == "opaque" and of.name == "optional_type":
        return _is_scalar(of.params[0])
    return of.kind in _SCALARS


_HANDLERS: dict[type, Callable[[Any, Any], Range]] = {
    Const: Coster.const,
    Ident: Coster.ident,
    Select: Coster.select,
    Call: Coster.call,
    ListNode: Coster.list_literal,
    MapNode: Coster.map_literal,
    StructNode: Coster.struct,
    Comprehension: Coster.comprehension,
}

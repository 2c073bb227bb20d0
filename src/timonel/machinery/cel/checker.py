"""The type checker: gives every node its type and every call its overloads, or says what is wrong.

Upstream: cel-go checker/checker.go, errors.go; cel/validator.go for what is said about literals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from timonel.machinery.cel import types
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
from timonel.machinery.cel.errors import Issue
from timonel.machinery.cel.functions import Overload, Table
from timonel.machinery.cel.types import BOOL, DYN, ERROR, INT, Type, display, list_of, map_of, optional_of
from timonel.machinery.cel.unify import Bindings, assignable, most_general, substitute


class Checker:
    """One run over one expression. `types` resolves names of object types, `variables` those of values."""

    def __init__(
        self,
        variables: Mapping[str, Type],
        functions: Table,
        objects: Callable[[str], Type | None],
    ) -> None:
        self.variables = variables
        self.functions = functions
        self.objects = objects
        self.issues: dict[Issue, None] = {}
        """What is wrong, each thing once."""
        self.bindings: Bindings = {}
        self.scopes: list[dict[str, Type]] = []
        self.references: set[str] = set()
        self.nodes: list[Node] = []
        self.done: set[int] = set()
        self.fresh = 0

    def run(self, root: Node) -> None:
        """Check the whole tree; what is wrong is in `issues` afterwards."""
        self.check(root)
        for node in self.nodes:
            node.type = substitute(self.bindings, node.type, to_dyn=True)

    def say(self, pos: int, message: str) -> None:
        self.issues[Issue(pos, message)] = None

    def check(self, node: Node) -> Type:
        if id(node) not in self.done:  # a macro may have put it in two places
            node.type = _HANDLERS[type(node)](self, node)
            self.nodes.append(node)
            self.done.add(id(node))
        return node.type

    def new_param(self) -> Type:
        self.fresh += 1
        return types.param(f"_var{self.fresh}")

    def fits(self, target: Type, source: Type) -> bool:
        found = assignable(self.bindings, (target,), (source,))
        if found is None:
            return False
        self.bindings = found
        return True

    def join(self, pos: int, previous: Type | None, current: Type) -> Type:
        if previous is None:
            return current
        if self.fits(previous, current):
            return most_general(previous, current)
        self.say(pos, f"expected type '{self.show(previous)}' but found '{self.show(current)}'")
        return ERROR

    def show(self, of: Type) -> str:
        return display(substitute(self.bindings, of, to_dyn=True))

    def undeclared(self, pos: int, name: str) -> Type:
        self.say(pos, f"undeclared reference to '{name}' (in container '')")
        return ERROR

    def lookup(self, name: str) -> Type | None:
        """A variable's type, or `type(T)` for a type's name."""
        if not name.startswith("."):
            for scope in reversed(self.scopes):
                found = scope.get(name)
                if found is not None:
                    return found
        name = name.lstrip(".")
        declared = self.variables.get(name)
        if declared is not None:
            self.references.add(name)
            return declared
        known = TYPE_NAMES.get(name) or self.objects(name)
        return None if known is None else types.type_of(known)

    def is_local(self, name: str) -> bool:
        return any(name in scope for scope in self.scopes)

    def ident(self, node: Ident) -> Type:
        found = self.lookup(node.name)
        return found if found is not None else self.undeclared(node.pos, node.name)

    def const(self, node: Const) -> Type:
        return node.of

    def select(self, node: Select) -> Type:
        name = None if node.test else qualified_name(node)
        if name is not None and not self.is_local(name.split(".", 1)[0]):
            found = self.lookup(name)
            if found is not None:
                node.qualified = name.lstrip(".")
                return found
        of = substitute(self.bindings, self.check(node.operand))
        inner = of.unwrapped()
        result = self.field_of(node.pos, inner, node.name)
        if node.test:
            return BOOL
        return optional_of(result) if inner is not of and result is not ERROR else result

    def field_of(self, pos: int, of: Type, field: str) -> Type:
        of = substitute(self.bindings, of)
        if of.kind == "map":
            return of.params[1]
        if of.kind == "object":
            known = of.field(field)
            if known is None:
                self.say(pos, f"undefined field '{field}'")
                return ERROR
            return known.type
        if of.kind in ("dyn", "error", "param"):
            self.fits(DYN, of)
            return DYN
        self.say(pos, f"type '{self.show(of)}' does not support field selection")
        return ERROR

    def call(self, node: Call) -> Type:
        if node.function == "_?._":
            return self.optional_select(node)
        name = node.function
        if node.target is not None:
            prefix = qualified_name(node.target)
            if prefix is not None and f"{prefix}.{name}".lstrip(".") in self.functions:
                node.function = name = f"{prefix}.{name}".lstrip(".")
                node.target = None
        for arg in node.args:
            self.check(arg)
        if node.target is not None:
            self.check(node.target)
        overloads = self.functions.get(name.lstrip("."))
        if overloads is None:
            return self.undeclared(node.pos, name)
        node.function = name.lstrip(".")
        return self.resolve(node, overloads)

    def optional_select(self, node: Call) -> Type:
        of = substitute(self.bindings, self.check(node.args[0]))
        field = node.args[1]
        self.check(field)
        node.overloads = ("select_optional_field",)
        of = of.unwrapped()
        name = field.value if isinstance(field, Const) else ""
        return optional_of(self.field_of(node.pos, of, name))

    def resolve(self, node: Call, overloads: tuple[Overload, ...]) -> Type:
        is_member = node.target is not None
        args = [arg.type for arg in node.args]
        if node.target is not None:
            args.insert(0, node.target.type)
        result: Type | None = None
        chosen: list[Overload] = []
        for candidate in overloads:
            if candidate.member != is_member or len(candidate.args) != len(args):
                continue
            wanted, yields = candidate.args, candidate.result
            if candidate.params:
                fresh = {name: self.new_param() for name in candidate.params}
                wanted = tuple(substitute(fresh, arg) for arg in wanted)
                yields = substitute(fresh, yields)
            found = assignable(self.bindings, args, wanted)
            if found is None:
                continue
            self.bindings = found
            chosen.append(candidate)
            bound = substitute(found, yields)
            if result is None:
                result = bound
            elif result.kind != "dyn" and result != bound:
                result = DYN
        if result is None:
            shown = [self.show(arg) for arg in args]
            signature = f"({', '.join(shown)})" if not is_member else f"{shown[0]}.({', '.join(shown[1:])})"
            self.say(node.pos, f"found no matching overload for '{node.function}' applied to '{signature}'")
            return ERROR
        node.overloads = tuple(one.id for one in chosen)
        node.resolved = tuple(chosen)
        return result

    def list_literal(self, node: ListNode) -> Type:
        elem: Type | None = None
        for index, one in enumerate(node.elems):
            found = self.check(one)
            if index in node.optional:
                found = self.unwrapped(one.pos, found)
            elem = self.join(one.pos, elem, found)
        return list_of(elem if elem is not None else self.new_param())

    def unwrapped(self, pos: int, found: Type) -> Type:
        found = substitute(self.bindings, found)
        if found.unwrapped() is not found:
            return found.params[0]
        if found.kind not in ("dyn", "error", "param"):
            self.say(pos, f"expected type 'optional_type({self.show(found)})' but found '{self.show(found)}'")
        return found

    def map_literal(self, node: MapNode) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self.join(entry.key.pos, key, self.check(entry.key))
            found = self.check(entry.value)
            if entry.optional:
                found = self.unwrapped(entry.value.pos, found)
            value = self.join(entry.value.pos, value, found)
        if key is None or value is None:
            return map_of(self.new_param(), self.new_param())
        return map_of(key, value)

    def struct(self, node: StructNode) -> Type:
        of = self.objects(node.name.lstrip("."))
        if of is None:
            known = self.lookup(node.name)
            if known is not None:
                word = "type" if known.kind != "type" else "message type"
                self.say(node.pos, f"'{node.name}' is not a {word}")
            else:
                self.undeclared(node.pos, node.name)
        for entry in node.entries:
            found = self.check(entry.value)
            if entry.optional:
                found = self.unwrapped(entry.pos, found)
            if of is None:
                continue
            wanted = self.field_of(entry.pos, of, entry.name)
            if not self.fits(wanted, found):
                self.say(
                    entry.pos,
                    f"expected type of field '{entry.name}' is '{self.show(wanted)}' but provided type is"
                    f" '{self.show(found)}'",
                )
        return of if of is not None else ERROR

    def comprehension(self, node: Comprehension) -> Type:
        over = substitute(self.bindings, self.check(node.range))
        accu = self.check(node.init)
        self.scopes.append({node.accu: accu, **self.loop_variables(node, over)})
        self.check(node.condition)
        self.expect(node.condition, BOOL)
        self.check(node.step)
        self.expect(node.step, accu)
        self.scopes[-1] = {node.accu: accu}
        result = self.check(node.result)
        self.scopes.pop()
        return substitute(self.bindings, result)

    def loop_variables(self, node: Comprehension, over: Type) -> dict[str, Type]:
        if over.kind == "list":
            first, second = (INT, over.params[0]) if node.var2 else (over.params[0], DYN)
        elif over.kind == "map":
            first, second = over.params
        else:
            first = second = DYN
            if over.kind in ("dyn", "error", "param"):
                self.fits(DYN, over)
            else:
                first = second = ERROR
                self.say(
                    node.range.pos,
                    f"expression of type '{self.show(over)}' cannot be range of a comprehension (must be list, map,"
                    " or dynamic)",
                )
        return {node.var: first, node.var2: second} if node.var2 else {node.var: first}

    def expect(self, node: Node, wanted: Type) -> None:
        if not self.fits(wanted, node.type):
            self.say(node.pos, f"expected type '{self.show(wanted)}' but found '{self.show(node.type)}'")


def qualified_name(node: Node) -> str | None:
    """`a.b.c` as one name, when the node is nothing else."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test:
        prefix = qualified_name(node.operand)
        return None if prefix is None else f"{prefix}.{node.name}"
    return None


_HANDLERS: dict[type, Callable[[Any, Any], Type]] = {
    Const: Checker.const,
    Ident: Checker.ident,
    Select: Checker.select,
    Call: Checker.call,
    ListNode: Checker.list_literal,
    MapNode: Checker.map_literal,
    StructNode: Checker.struct,
    Comprehension: Checker.comprehension,
}

TYPE_NAMES: Mapping[str, Type] = {
    "bool": BOOL,
    "bytes": types.BYTES,
    "double": types.DOUBLE,
    "dyn": DYN,
    "int": INT,
    "list": types.LIST_DYN,
    "map": map_of(DYN, DYN),
    "null_type": types.NULL,
    "string": types.STRING,
    "type": types.TYPE,
    "uint": types.UINT,
    "optional_type": optional_of(DYN),
    "google.protobuf.Timestamp": types.TIMESTAMP,
    "google.protobuf.Duration": types.DURATION,
}

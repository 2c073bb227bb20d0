"""From checked nodes to the source of a Python function.

Every handler takes a node and returns the text of its value. `&&`, `||` and macros absorb errors as CEL demands: what
may fail is tried, what cannot is plain. Which can is decided here, by `safe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from timonel.machinery.cel import charges, inline, loops, runtime
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
from timonel.machinery.cel.checker import TYPE_NAMES
from timonel.machinery.cel.emitter import Emitter
from timonel.machinery.cel.types import Type
from timonel.machinery.cel.values import NOTHING, TypeValue, UInt

LIST_COST, MAP_COST, OBJECT_COST = 10, 30, 40
_GLOBALS: Mapping[str, Any] = {
    name: getattr(runtime, name)
    for name in (
        "ERRORS",
        "absorbed",
        "exceeded",
        "as_bool",
        "make_map",
        "make_list",
        "make_object",
        "insert",
        "Failed",
        "use",
    )
}


class Generator(Emitter):
    """One expression's code. `variables` are the environment's types, for what is read from outside."""

    def __init__(self, variables: Mapping[str, Type], references: Iterable[str]) -> None:
        super().__init__()
        self.variables = variables
        self.names.update({name: f"v{index}" for index, name in enumerate(references)})
        self.locals: dict[str, bool] = {}
        """The variables that macros bind, and whether reading one may fail."""
        self.shared: dict[int, str] = {}
        """The names of values that stand in two places."""

    def emit(self, node: Node) -> str:
        return self.shared.get(id(node)) or _HANDLERS[type(node)](self, node)

    def safe(self, node: Node) -> bool:
        """Whether evaluating the node cannot fail (as far as its types are right)."""
        if isinstance(node, Const):
            return True
        if isinstance(node, Ident):
            return not self.locals.get(node.name, False)
        if isinstance(node, Select):
            if node.qualified:
                return True
            return node.test and node.operand.type.kind == "object" and isinstance(node.operand, Ident)
        if isinstance(node, Call):
            children = node.args if node.target is None else [node.target, *node.args]
            known = all(child.type.kind not in ("dyn", "error", "param") for child in children)
            return node.function in inline.SAFE and known and all(self.safe(child) for child in children)
        return False

    def decides(self, node: Node) -> bool:
        """Whether the node yields a bool without fail."""
        return node.type.kind == "bool" and self.safe(node)

    def converted(self, text: str, of: Type) -> str:
        """The text of a tree's value as its type says, at the point where it leaves the tree."""
        inner = of.unwrapped()
        if inner.kind not in ("double", "timestamp", "duration", "bytes"):
            return text
        convert = runtime.converter(inner)
        if inner is of:
            return f"{self.constant(convert, f'as_{of.kind}')}({text})"
        return f"{self.constant(runtime.optional_converter(convert), f'as_optional_{inner.kind}')}({text})"

    def branch(self, node: Node) -> str:
        return self.free_of_root(node) if charges.is_attribute(node) else self.nested(node)

    def nested(self, node: Node) -> str:
        """The node's text, its statements in a function of their own when the blocks here are too deep."""
        if not self.too_deep():
            return self.emit(node)
        return self.outlined(lambda: self.emit(node))

    def sequence(self, nodes: list[Node], *, keep: bool = False) -> list[str]:
        """The texts of several nodes, evaluated in order; with `keep` each can be used more than once."""
        texts: list[str] = []
        for node in nodes:
            at = len(self.lines)
            text = self.settled(self.shared.get(id(node)) or _HANDLERS[type(node)](self, node))
            if len(self.lines) > at:
                # This one's statements would run before the values of those before it: store these first.
                moved = []
                for index, earlier in enumerate(texts):
                    if not inline.is_constant_text(earlier):
                        name = self.fresh()
                        moved.append("  " * self.indent + f"{name} = {earlier}")
                        texts[index] = name
                self.lines[at:at] = moved
            texts.append(self.store(text) if keep and not inline.is_constant_text(text) else text)
        return texts

    def const(self, node: Const) -> str:
        if isinstance(node.value, UInt):
            return self.constant(node.value)
        return (
            f"({node.value!r})"
            if isinstance(node.value, (int, float)) and node.value < 0
            else repr(node.value)
        )

    def ident(self, node: Ident) -> str:
        name = node.name.lstrip(".")
        if node.name in self.locals:
            self.charge(1)
            text = self.names[node.name]
            return f"use({text})" if self.locals[node.name] else text
        return self.variable(name)

    def variable(self, name: str) -> str:
        if name in self.variables:
            self.charge(1)
            return self.names[name]
        return self.constant(TypeValue(_type_value_name(name)))

    def select(self, node: Select) -> str:
        if node.qualified:
            return self.variable(node.qualified)
        operand = self.settled(self.emit(node.operand))
        of = node.operand.type
        key = node.name
        known = of.unwrapped().field(key)
        if known is not None:
            key = known.key
        if known is not None and known.type.nullable:
            return self.nullable(node, operand, key)
        if node.test:
            if of.kind == "object" and operand.isidentifier():  # a variable, which may be null as a whole
                return f"({operand} is not None and {key!r} in {operand})"
            if of.kind in ("object", "map"):
                return f"({key!r} in {operand})"
            return f"{self.constant(inline.has, 'has')}({operand}, {key!r})"
        self.charge(1 + self.starts_path(node.operand))
        return self.converted(f"{operand}[{key!r}]", node.type)

    def nullable(self, node: Select, operand: str, key: str) -> str:
        """A declared field that may be null: null is as good as absent."""
        if node.test:
            return f"{self.constant(runtime.has_value, 'has_value')}({operand}, {key!r})"
        self.charge(1 + self.starts_path(node.operand))
        return self.converted(f"{self.constant(runtime.value_of, 'value_of')}({operand}, {key!r})", node.type)

    def starts_path(self, operand: Node) -> int:
        """What it costs to go on from a value that is no variable: a path of its own begins."""
        goes_on = isinstance(operand, Select) or (
            isinstance(operand, Call) and operand.function in ("_[_]", "_?._", "_[?_]")
        )
        return 0 if goes_on or charges.is_attribute(operand) else 1

    def free_of_root(self, node: Node) -> str:
        """A path whose variable costs nothing: as an index, or as the branch of a conditional."""
        text = self.emit(node)
        if charges.is_attribute(node):
            self.charge(-1)
        return text

    def call(self, node: Call) -> str:
        special = _SPECIAL.get(node.function)
        if special is not None:
            return special(self, node)
        return inline.call(self, node)

    def list_literal(self, node: ListNode) -> str:
        self.charge(0 if charges.is_constant(node) else LIST_COST)
        texts = self.sequence(node.elems)
        if not node.optional:
            return f"[{', '.join(texts)}]"
        marked = (f"({text}, {index in node.optional})" for index, text in enumerate(texts))
        return f"make_list(({' '.join(f'{one},' for one in marked)}))"

    def map_literal(self, node: MapNode) -> str:
        self.charge(0 if charges.is_constant(node) else MAP_COST)
        parts = self.sequence([part for entry in node.entries for part in (entry.key, entry.value)])
        keys, values = parts[::2], parts[1::2]
        plain = all(isinstance(entry.key, Const) and entry.key.of.kind == "string" for entry in node.entries)
        if plain and len(set(keys)) == len(keys) and not any(entry.optional for entry in node.entries):
            return f"{{{', '.join(f'{key}: {value}' for key, value in zip(keys, values, strict=True))}}}"
        rows = (
            f"({key}, {value}, {entry.optional}),"
            for key, value, entry in zip(keys, values, node.entries, strict=True)
        )
        return f"make_map(({' '.join(rows)}))"

    def struct(self, node: StructNode) -> str:
        self.charge(OBJECT_COST)
        texts = self.sequence([entry.value for entry in node.entries])
        rows = []
        for text, entry in zip(texts, node.entries, strict=True):
            known = node.type.field(entry.name)
            rows.append(f"({known.key if known else entry.name!r}, {text}, {entry.optional}),")
        return f"make_object({node.name.lstrip('.')!r}, ({' '.join(rows)}))"

    def comprehension(self, node: Comprehension) -> str:
        if self.too_deep():
            return self.outlined(lambda: loops.loop(self, node))
        return loops.loop(self, node)

    def boolean(self, text: str, of: Type) -> str:
        return text if of.kind == "bool" else f"as_bool({text})"

    def logic(self, node: Call) -> str:
        """`&&` and `||`: the side that decides wins, whatever became of the other."""
        if self.too_deep():
            return self.outlined(lambda: self.logic(node))
        stops = "False" if node.function == "_&&_" else "True"
        goes_on = "" if stops == "False" else "not "
        left, right = node.args
        result = self.fresh()
        if self.decides(left):
            self.line(f"{result} = {self.boolean(self.emit(left), left.type)}")
            with self.block(f"if {goes_on}{result}:"):
                self.line(f"{result} = {self.boolean(self.emit(right), right.type)}")
            return result
        error = self.fresh("e")
        self.line(f"{error} = None")
        with self.block("try:", counted=True):
            self.line(f"{result} = {self.boolean(self.emit(left), left.type)}")
        with self.block("except ERRORS as x:", counted=True):
            self.line(f"{error} = absorbed(x)")
            self.line(f"{result} = {stops == 'False'}")
        with self.block(f"if {goes_on}{result}:"):
            if self.decides(right):
                self.line(f"{result} = {self.boolean(self.emit(right), right.type)}")
            else:
                with self.block("try:", counted=True):
                    self.line(f"{result} = {self.boolean(self.emit(right), right.type)}")
                with self.block("except ERRORS as x:", counted=True):
                    self.line(f"raise ({error} or absorbed(x)) from None")
            with self.block(f"if {error} is not None and {result} is not {stops}:"):
                self.line(f"raise {error}")
        return result

    def conditional(self, node: Call) -> str:
        if self.too_deep():
            return self.outlined(lambda: self.conditional(node))
        if node.shared is not None:
            name = self.store(self.emit(node.shared))
            self.names[f"@{name}"] = self.shared[id(node.shared)] = name
        condition, yes, no = node.args
        test = self.boolean(self.emit(condition), condition.type)
        result = self.fresh()
        with self.block(f"if {test}:"):
            self.line(f"{result} = {self.branch(yes)}")
        with self.block("else:"):
            self.line(f"{result} = {self.branch(no)}")
        if node.shared is not None:
            del self.names[f"@{name}"]
        return result

    def otherwise(self, node: Call) -> str:
        """`a.or(b)` and `a.orValue(b)`: `b` is evaluated only when `a` is empty."""
        assert node.target is not None
        if self.too_deep():
            return self.outlined(lambda: self.otherwise(node))
        self.charge(1)
        nothing = self.constant(NOTHING, "NOTHING")
        result = self.store(self.emit(node.target))
        wraps = node.function == "or"
        with self.block(f"if {result} is {nothing}:"):
            self.line(f"{result} = {self.emit(node.args[0])}")
        if not wraps:
            with self.block("else:"):
                self.line(f"{result} = {result}.value")
        return result

    def compile(self, root: Node) -> tuple[Callable[..., Any], str]:
        """The function `run(variables, meter)` and its source."""
        value = self.emit(root)
        lines, pending = self.lines, self.pending
        reads = []
        for name, python in self.names.items():
            if name in self.variables:
                reads.append(f"    {python} = {self.converted(f'v[{name!r}]', self.variables[name])}")
        source = "\n".join(
            (
                *self.functions,
                "def run(v, m):",
                f"  c = {pending}",
                "  try:",
                *reads,
                *("  " + line for line in lines),
                f"    return {value}",
                "  finally:",
                "    m.cost += c",
            )
        )
        scope: dict[str, Any] = {**_GLOBALS, **charges.GLOBALS, **self.constants}
        exec(compile(source, "<cel>", "exec"), scope)
        return scope["run"], source


def _type_value_name(name: str) -> str:
    known = TYPE_NAMES.get(name)
    return known.name if known is not None and known.kind == "opaque" else name


_HANDLERS: dict[type, Callable[[Any, Any], str]] = {
    Const: Generator.const,
    Ident: Generator.ident,
    Select: Generator.select,
    Call: Generator.call,
    ListNode: Generator.list_literal,
    MapNode: Generator.map_literal,
    StructNode: Generator.struct,
    Comprehension: Generator.comprehension,
}
_SPECIAL: dict[str, Callable[[Generator, Call], str]] = {
    "_&&_": Generator.logic,
    "_||_": Generator.logic,
    "_?_:_": Generator.conditional,
    "or": Generator.otherwise,
    "orValue": Generator.otherwise,
}

"""Python source, built block by block: lines, temporaries, constants, and the cost that they charge.

An expression's code is text that is evaluated where it is put; what needs statements emits them first and returns the
name that holds the value. Fixed costs of a straight stretch are charged at once, before it runs. Python allows only
twenty nested blocks, so deep code moves to functions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

MAX_BLOCKS = 12
MAX_INDENT = 50
MAX_NESTING = 40


class Emitter:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.functions: list[str] = []
        self.constants: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        """The Python names of the CEL variables in reach."""
        self.indent = 1
        self.blocks = 0
        self.pending = 0
        self.counter = 0

    def too_deep(self) -> bool:
        return self.blocks >= MAX_BLOCKS or self.indent >= MAX_INDENT

    def line(self, text: str) -> None:
        self.lines.append("  " * self.indent + text)

    def fresh(self, prefix: str = "t") -> str:
        self.counter += 1
        return f"{prefix}{self.counter}"

    def constant(self, value: Any, name: str = "") -> str:
        """A global of the compiled code."""
        name = name or self.fresh("k")
        self.constants[name] = value
        return name

    def store(self, text: str) -> str:
        name = self.fresh()
        self.line(f"{name} = {text}")
        return name

    def atom(self, text: str) -> str:
        """A name for the value, so that it can be used twice."""
        return text if is_atom(text) else self.store(text)

    def settled(self, text: str) -> str:
        """The text, or a name for it where it would nest too deeply for Python's parser."""
        return self.store(text) if text.count("(") + text.count("[") > MAX_NESTING else text

    def charge(self, amount: int) -> None:
        self.pending += amount

    def flush(self) -> None:
        if self.pending:
            self.line(f"c += {self.pending}")
            self.pending = 0

    def charge_value(self, text: str) -> None:
        self.line(f"c += {text}")

    @contextmanager
    def block(self, header: str, *, counted: bool = False) -> Iterator[None]:
        """An indented block whose costs are its own."""
        self.flush()
        self.line(header)
        self.indent += 1
        self.blocks += counted
        at = len(self.lines)
        yield
        if self.pending:
            # Charged before what it pays for, so that what is cut off half way has been paid.
            self.lines.insert(at, "  " * self.indent + f"c += {self.pending}")
            self.pending = 0
        if len(self.lines) == at:
            self.line("pass")
        self.blocks -= counted
        self.indent -= 1

    def outlined(self, body: Callable[[], str]) -> str:
        """Put what `body` emits into a function of its own, and return the call."""
        name = self.fresh("f")
        variables = list(dict.fromkeys(self.names.values()))
        outer = (self.lines, self.indent, self.blocks, self.pending)
        self.lines, self.indent, self.blocks, self.pending = [], 2, 1, 0
        value = body()
        lines, pending = self.lines, self.pending
        self.lines, self.indent, self.blocks, self.pending = outer
        self.functions.append(
            "\n".join(
                (
                    f"def {name}({', '.join(('m', *variables))}):",
                    f"  c = {pending}",
                    "  try:",
                    *lines,
                    f"    return {value}",
                    "  finally:",
                    "    m.cost += c",
                )
            )
        )
        return f"{name}({', '.join(('m', *variables))})"


def is_atom(text: str) -> bool:
    return text.isidentifier() or text.isdigit()

"""CEL, the Common Expression Language, as Kubernetes 1.36 speaks it.

    env = Environment({"self": types.of_schema(schema)})
    program = env.compile("self.minReplicas <= self.replicas", returns=(types.BOOL,))
    program.evaluate({"self": tree}, budget=Budget())

An expression is parsed (`lexer`, `parser`, `macros`), checked against the types of what it refers to (`checker`), and
becomes a Python function (`code`) when it is first evaluated. Trees go in as plain JSON. Everything but the names below
is imported when something is compiled.

How the pieces fit together: docs/design/cel.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from timonel.machinery.cel import types
from timonel.machinery.cel.budget import (
    MATCH_CONDITIONS_BUDGET,
    PER_CALL_LIMIT,
    RUNTIME_BUDGET,
    STATIC_LIMIT,
    STATIC_LIMIT_OF_A_DEFINITION,
    Budget,
)
from timonel.machinery.cel.environment import DEVICES, KUBERNETES, MUTATION, Environment
from timonel.machinery.cel.errors import CompileError, CostExceeded, EvaluationError, Issue, WrongResult

if TYPE_CHECKING:
    from timonel.machinery.cel.estimate import Estimate
    from timonel.machinery.cel.program import Program

__all__ = [
    "DEVICES",
    "KUBERNETES",
    "MATCH_CONDITIONS_BUDGET",
    "MUTATION",
    "PER_CALL_LIMIT",
    "RUNTIME_BUDGET",
    "STATIC_LIMIT",
    "STATIC_LIMIT_OF_A_DEFINITION",
    "Budget",
    "CompileError",
    "CostExceeded",
    "Environment",
    "Estimate",
    "EvaluationError",
    "Issue",
    "Program",
    "WrongResult",
    "types",
]


def __getattr__(name: str) -> object:
    if name == "Program":
        from timonel.machinery.cel.program import Program

        return Program
    if name == "Estimate":
        from timonel.machinery.cel.estimate import Estimate

        return Estimate
    raise AttributeError(name)

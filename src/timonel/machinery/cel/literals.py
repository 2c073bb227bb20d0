"""What upstream's validators say about literals in an expression whose types are right.

Upstream: cel-go cel/validator.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.machinery.cel.ast import Call, Const, Node
from timonel.machinery.cel.errors import EvaluationError, Issue
from timonel.machinery.cel.times import parse_duration, parse_timestamp


def check_literals(nodes: Iterable[Node]) -> list[Issue]:
    """Durations, timestamps and patterns that no evaluation could accept."""
    issues: list[Issue] = []
    for node in nodes:
        if not isinstance(node, Call) or node.function not in ("duration", "timestamp", "matches"):
            continue
        args = node.args
        index = 0 if node.function != "matches" or node.target is not None else 1
        literal = args[index] if len(args) > index else None
        if (
            isinstance(literal, Const)
            and literal.of.kind == "string"
            and not _valid(node.function, literal.value)
        ):
            issues.append(Issue(literal.pos, f"invalid {node.function} argument"))
    return issues


def _valid(function: str, text: str) -> bool:
    if function == "duration":
        return parse_duration(text) is not None
    if function == "timestamp":
        return parse_timestamp(text) is not None
    from timonel.machinery.cel.library.regex import compiled

    try:
        compiled(text)
    except EvaluationError:
        return False
    return True

"""Conditions and keys of Stages that are written in CEL, of the object as `self`. Pure.

What cannot be evaluated, because the object has no such field, does not hold and has no values, as in kwok.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from timonel.machinery.cel import CompileError, CostExceeded, Environment, EvaluationError, WrongResult, types
from timonel.machinery.cel.budget import Budget
from timonel.objects.meta import Object

COST = 1_000_000  # of one evaluation, in CEL's units: what a validation rule may spend, too


class NotUnderstood(Exception):
    """No CEL, or none of the right type; the message is CEL's own."""


def condition(text: str) -> Callable[[Object], bool]:
    """Raises NotUnderstood."""
    evaluate = _compiled(text, (types.BOOL,))
    return lambda obj: evaluate(obj) is True


def values(text: str) -> Callable[[Any], Iterator[Any]]:
    """The one value that the expression has, as a key finds values. Raises NotUnderstood."""
    evaluate = _compiled(text, ())

    def found(obj: Any) -> Iterator[Any]:
        value = evaluate(obj)
        if value is not None:
            yield value

    return found


def _compiled(text: str, returns: tuple[types.Type, ...]) -> Callable[[Object], Any]:
    try:
        program = Environment({"self": types.DYN}).compile(text, returns=returns)
    except (CompileError, WrongResult) as e:
        raise NotUnderstood(str(e)) from e

    def evaluate(obj: Object) -> Any:
        try:
            return program.evaluate({"self": obj}, budget=Budget(COST))
        except (EvaluationError, CostExceeded):
            return None

    return evaluate

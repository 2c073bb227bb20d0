"""A compiled expression: evaluated any number of times, by any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from timonel.machinery.cel.ast import Node
from timonel.machinery.cel.budget import PER_CALL_LIMIT, Budget
from timonel.machinery.cel.errors import CostExceeded, EvaluationError
from timonel.machinery.cel.runtime import ERRORS, Meter, failed
from timonel.machinery.cel.types import Type
from timonel.machinery.cel.values import type_name


class Program:
    """Made by `Environment.compile`. The Python code is made when it is first evaluated."""

    __slots__ = ("_root", "_run", "_variables", "references", "result", "source", "text")

    def __init__(
        self, text: str, root: Node, variables: Mapping[str, Type], references: frozenset[str]
    ) -> None:
        self.text = text
        self.result = root.type
        self.references = references
        self.source = ""
        self._root = root
        self._variables = variables
        self._run: Callable[..., Any] | None = None

    def evaluate(
        self, variables: Mapping[str, Any], *, budget: Budget | None = None, limit: int = PER_CALL_LIMIT
    ) -> Any:
        """The expression's value for these variables; raises EvaluationError, or CostExceeded.

        Costs are taken from `budget` whether it succeeds or not. Variables that the expression does not use may be
        absent. Values passed in are never changed.
        """
        meter = Meter(limit)
        try:
            value = (self._run or self._prepare())(variables, meter)
        except ERRORS as error:
            self._spend(meter, budget)
            if (
                isinstance(error, KeyError)
                and error.args
                and error.args[0] in self.references - variables.keys()
            ):
                raise EvaluationError(f"no such attribute(s): {error.args[0]}") from None
            raise failed(error) from None
        self._spend(meter, budget)
        return value

    def _spend(self, meter: Meter, budget: Budget | None) -> None:
        if budget is not None:
            budget.remaining -= meter.cost
            if budget.remaining < 0:
                raise CostExceeded
        if meter.cost > meter.limit:
            raise CostExceeded

    def cost(self, variables: Mapping[str, Any]) -> int:
        """What one evaluation takes, without any limit."""
        budget = Budget(1 << 62)
        self.evaluate(variables, budget=budget, limit=1 << 62)
        return (1 << 62) - budget.remaining

    def check(self, variables: Mapping[str, Any], *, budget: Budget | None = None) -> bool:
        """The value of an expression that must yield a bool."""
        value = self.evaluate(variables, budget=budget)
        if value is True or value is False:
            return bool(value)
        raise EvaluationError(f"expected bool but got {type_name(value)}")

    def _prepare(self) -> Callable[..., Any]:
        from timonel.machinery.cel.code import Generator

        generator = Generator(self._variables, sorted(self.references))
        try:
            run, self.source = generator.compile(self._root)
        except (SyntaxError, RecursionError, MemoryError):
            raise EvaluationError("the expression nests too deeply") from None
        self._run = run
        return run

    def estimate(self, sizes: Mapping[str, Type] | None = None) -> Any:
        """The least and the most that evaluation can cost (upstream's static estimate).

        `sizes` gives the declared types by variable, whose `max_elements` bound the estimate; by default those that the
        environment declares.
        """
        from timonel.machinery.cel.estimate import estimate

        return estimate(self._root, sizes if sizes is not None else self._variables)

"""What a ValidatingAdmissionPolicy says about one call: a decision for each validation, and annotations for the audit.

Upstream: apiserver/pkg/admission/plugin/policy/validating/{validator,policy_decision}.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from timonel.apis.expressions import BOOLEAN, TEXT, TEXT_OR_NULL, Expressions
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.expressions import (
    BUDGET,
    Compiled,
    Conditions,
    EvaluationFailed,
    Given,
    OutOfBudget,
    Variables,
    compiled,
    variables,
)

if TYPE_CHECKING:
    from timonel.machinery.cel import Budget

LONGEST_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """`index` counts the validations; a failure to evaluate has no reason."""

    index: int
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    refusals: Sequence[Refusal] = ()
    annotations: Sequence[tuple[str, str]] = ()
    problems: Sequence[str] = ()  # of annotations that could not be evaluated


class Rules:
    """The compiled expressions of one policy."""

    def __init__(self, spec: Object) -> None:
        self._fails_open = spec.get("failurePolicy") == "Ignore"
        params = spec.get("paramKind") is not None
        conditions = spec.get("matchConditions")
        self._conditions = Conditions(conditions, params=params) if conditions else None
        expressions = Expressions(params=params)
        self._variables = variables(expressions, spec.get("variables") or ())
        self._validations = [
            (
                tree,
                compiled(expressions, tree["expression"], BOOLEAN),
                compiled(expressions, tree["messageExpression"], TEXT, authorizer=False)
                if tree.get("messageExpression")
                else None,
            )
            for tree in spec.get("validations") or ()
        ]
        self._annotations = [
            (str(tree["key"]), compiled(expressions, tree["valueExpression"], TEXT_OR_NULL))
            for tree in spec.get("auditAnnotations") or ()
        ]

    def _failed(self, index: int, message: str) -> Sequence[Refusal]:
        return () if self._fails_open else (Refusal(index, message),)

    def decide(self, given: Given) -> Result:
        from timonel.machinery.cel import Budget

        if self._conditions is not None:
            try:
                if not self._conditions.are_met(given):
                    return Result()
            except EvaluationFailed as failure:
                return Result(self._failed(0, str(failure)))
        budget = Budget(BUDGET)
        try:
            refusals = self._validated(self._values(given, budget), budget)
            if not self._annotations:
                return Result(refusals)
            budget = Budget(BUDGET)
            annotations, problems = self._annotated(self._values(given, budget), budget)
        except OutOfBudget as failure:
            return Result(self._failed(0, str(failure)))
        return Result(refusals, annotations, problems)

    def _values(self, given: Given, budget: Budget) -> dict[str, Any]:
        values = given.values()
        return (
            {**values, "variables": Variables(self._variables, values, budget)} if self._variables else values
        )

    def _validated(self, values: dict[str, Any], budget: Budget) -> list[Refusal]:
        found: list[Refusal] = []
        verdicts: list[tuple[int, Object, Compiled | None]] = []
        for index, (tree, rule, message) in enumerate(self._validations):
            try:
                if rule.value(values, budget) is not True:
                    verdicts.append((index, tree, message))
            except OutOfBudget:
                raise
            except EvaluationFailed as failure:
                found += self._failed(index, str(failure))
        for index, tree, message in verdicts:
            try:
                text = _message(tree, message, values, budget)
            except OutOfBudget as failure:
                found += self._failed(index, f"failed messageExpression: {failure}")
            else:
                found.append(Refusal(index, text, tree.get("reason") or "Invalid"))
        return sorted(found, key=lambda refusal: refusal.index)

    def _annotated(self, values: dict[str, Any], budget: Budget) -> tuple[list[tuple[str, str]], list[str]]:
        found, problems = [], []
        for key, expression in self._annotations:
            try:
                value = expression.value(values, budget)
            except OutOfBudget:
                raise
            except EvaluationFailed as failure:
                if not self._fails_open:
                    problems.append(str(failure))
                continue
            if isinstance(value, str) and value.strip():
                found.append((key, value.strip()))
        return found, problems


def _message(tree: Object, expression: Compiled | None, values: dict[str, Any], budget: Budget) -> str:
    """That of the expression where it gives a decent one, else the fixed one, else the rule itself."""
    text = ""
    if expression is not None:
        try:
            value = expression.value(values, budget)
        except OutOfBudget:
            raise
        except EvaluationFailed:
            value = None
        if isinstance(value, str):
            text = value.strip()
        if "\n" in text or len(text.encode()) > LONGEST_MESSAGE:
            text = ""
    return (
        text or str(tree.get("message") or "").strip() or f"failed expression: {tree['expression'].strip()}"
    )

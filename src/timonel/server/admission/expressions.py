"""Expressions of webhooks and policies, evaluated on a call: what they may see, what a failure says.

Upstream: apiserver/pkg/admission/plugin/cel/{condition,activation,composition}.go,
admission/plugin/webhook/matchconditions/matcher.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeVar

from timonel.apis.expressions import ANYTHING, BOOLEAN, BadExpression, Expressions
from timonel.machinery.field import quote
from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.server.admission.attributes import joined
from timonel.server.admission.forms import Form
from timonel.server.admission.requesttree import request_tree
from timonel.server.request import AdmissionCall, Authorizer, Undecided

if TYPE_CHECKING:
    from timonel.machinery.cel import Budget, Program

T = TypeVar("T")

MOST_QUESTIONS = 64
MATCH_BUDGET = 2_500_000
BUDGET = 10_000_000
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class EvaluationFailed(Exception):
    """An expression gave no value; the text says which and why."""


class OutOfBudget(EvaluationFailed):
    """The expressions of one evaluation took too much: none of the others is looked at."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


@dataclass(slots=True)
class Given:
    """What the expressions of one evaluation see of a call. `obj` and `old` are in the form that is matched."""

    call: AdmissionCall
    form: Form
    own: Form
    obj: Object | None
    old: Object | None
    authorizer: Authorizer
    namespace: Object | None = None
    params: Object | None = None
    has_params: bool = False
    _values: dict[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        if self._values:
            return self._values
        from timonel.server.admission import authorization

        call = self.call
        request = request_tree(call, self.form, self.own, call.dry_run)
        self._values = {
            "object": self.obj,
            "oldObject": self.old,
            "request": request,
            "namespaceObject": None if self.namespace is None else _namespace(self.namespace),
            "authorizer": authorization.of_user(self.authorizer, call.user),
            "authorizer.requestResource": authorization.of_call(self.authorizer, call, self.form),
        }
        if self.has_params:
            self._values["params"] = self.params
        return self._values


_METADATA = (
    "name", "generateName", "namespace", "labels", "annotations", "UID", "creationTimestamp",
    "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "resourceVersion", "finalizers",
)  # fmt: skip


def _namespace(obj: Object) -> Object:
    """As much of a Namespace as expressions may see."""
    metadata = obj["metadata"]
    return {
        "metadata": {k: metadata[k] for k in _METADATA if k in metadata},
        "spec": obj.get("spec") or {},
        "status": obj.get("status") or {},
    }


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression; where it does not compile (any more), evaluating it says so."""

    text: str
    program: Program | None
    problem: str = ""

    def value(self, values: Mapping[str, Any], budget: Budget) -> Any:
        """Raises EvaluationFailed."""
        from timonel.machinery.cel import CostExceeded, EvaluationError

        if self.program is None:
            raise EvaluationFailed(f"compilation error: {self.problem}")
        try:
            found = self.program.evaluate(values, budget=budget)
        except CostExceeded as error:
            if budget.exhausted:
                raise OutOfBudget() from error
            raise EvaluationFailed(f"expression '{self.text}' resulted in error: {error}") from error
        except EvaluationError as error:
            raise EvaluationFailed(f"expression '{self.text}' resulted in error: {error}") from error
        if budget.exhausted:
            raise OutOfBudget()
        return found


def compiled(expressions: Expressions, text: str, returns: str, *, authorizer: bool = True) -> Compiled:
    try:
        return Compiled(text, expressions.compile(text, returns, authorizer=authorizer))
    except BadExpression as error:
        return Compiled(text, None, str(error))


async def settled(decide: Callable[[], T]) -> T:
    """What `decide` says, once the authorizer knows all that it is asked on the way."""
    for _ in range(MOST_QUESTIONS):
        try:
            return decide()
        except Undecided as question:
            await question.ask()
    raise EvaluationFailed("authorization takes too many questions")


class Conditions:
    """matchConditions: all of them must hold. Compiled at their first use."""

    def __init__(self, trees: Sequence[Object], *, params: bool = False) -> None:
        self._trees = trees
        self._params = params
        self._compiled: list[Compiled] = []

    def unmet(self, given: Given) -> str | None:
        """The name of a condition that does not hold. Raises EvaluationFailed where one cannot be told and no other
        one is false."""
        from timonel.machinery.cel import Budget

        if not self._compiled:
            expressions = Expressions(params=self._params)
            self._compiled = [compiled(expressions, str(t["expression"]), BOOLEAN) for t in self._trees]
        budget, problems = Budget(MATCH_BUDGET), []
        for tree, condition in zip(self._trees, self._compiled, strict=True):
            try:
                if condition.value(given.values(), budget) is False:
                    return str(tree["name"])
            except OutOfBudget:
                raise
            except EvaluationFailed as failure:
                problems.append(str(failure))
        if problems:
            raise EvaluationFailed(joined(problems))
        return None

    def are_met(self, given: Given) -> bool:
        return self.unmet(given) is None


class Variables(dict[str, Any]):
    """`variables` of one evaluation: each is computed when it is first asked for, and once.

    A dict without entries of its own until then, since the engine reads objects as dicts.
    """

    def __init__(
        self, definitions: Mapping[str, Compiled], values: Mapping[str, Any], budget: Budget
    ) -> None:
        super().__init__()
        self._definitions = definitions
        self._given = {**values, "variables": self}
        self._budget = budget

    def __contains__(self, key: object) -> bool:
        return key in self._definitions

    def __missing__(self, key: str) -> Any:
        from timonel.machinery.cel import EvaluationError

        definition = self._definitions[key]
        if definition.program is None:
            raise EvaluationError(f"composited variable {quote(key)} fails to compile: {definition.problem}")
        try:
            found = definition.program.evaluate(self._given, budget=self._budget)
        except EvaluationError as error:
            raise EvaluationError(f"composited variable {quote(key)} fails to evaluate: {error}") from error
        self[key] = found
        return found

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._definitions else default


def variables(expressions: Expressions, trees: Sequence[Object]) -> dict[str, Compiled]:
    """Compiles the variables of a policy in order, and declares them for what comes after."""
    found = {}
    for tree in trees:
        name = str(tree["name"])
        found[name] = compiled(expressions, str(tree["expression"]), ANYTHING)
        expressions.declare(name, found[name].program)
    return found

"""The expressions in a schema: they compile, yield the right type, and cost no more than they may.

A rule is estimated at its worst, times as often as its place can occur in an object. Both one rule and all of a
definition have a limit.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation/{cel_validation,validation}.go,
pkg/apiserver/schema/cel/compilation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field as dataclass_field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from timonel.apis.apiextensions import gotext
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.records import dataclass

if TYPE_CHECKING:
    from timonel.machinery.cel import Environment, Program
    from timonel.machinery.cel.types import Type

Tree = Mapping[str, Any]
LIMIT, TOTAL_LIMIT = 10_000_000, 100_000_000
MAX_COST = (1 << 64) - 1
LARGEST_REQUEST = 3 * 1024 * 1024
MOST_EXPENSIVE = 4
NO_TYPE = (
    "internal error: failed to construct type information for x-kubernetes-validations rules: "
    "unable to convert structural schema to CEL declarations"
)
ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


def too_expensive(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    else:
        shown = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{name} exceeds budget by factor of {shown} {ADVICE}"


@dataclass(slots=True)
class Total:
    """What all expressions of a definition cost, and the most expensive ones."""

    cost: int = 0
    most_expensive: list[tuple[int, str]] = dataclass_field(default_factory=list)

    def add(self, path: str, cost: int) -> None:
        self.cost = min(MAX_COST, self.cost + cost)
        if cost >= TOTAL_LIMIT // 100:
            self.most_expensive.append((cost, path))
            self.most_expensive.sort(key=lambda one: -one[0])
            del self.most_expensive[MOST_EXPENSIVE:]

    def causes(self, path: str) -> Iterator[Cause]:
        if self.cost <= TOTAL_LIMIT:
            return
        for _, at in self.most_expensive:
            yield field.forbidden(
                at,
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            )
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield field.forbidden(path, too_expensive(name, self.cost, TOTAL_LIMIT))


class Context:
    """One place in the schema, as its expressions see it."""

    def __init__(
        self,
        schema: Tree,
        total: Total,
        *,
        parent: Context | None = None,
        occurs: int | None = 1,
        ignore_cost: bool = False,
    ) -> None:
        self._schema = schema
        self.total = total
        self._parent = parent
        self._occurs = occurs  # how often at most; None: nothing bounds it
        self._ignore_cost = ignore_cost
        above = parent is not None and parent._in_scope
        self._in_scope: bool = above or bool(schema.get("x-kubernetes-validations"))

    @classmethod
    def of_root(cls, schema: Tree, *, ignore_cost: bool) -> Context:
        return cls(schema, Total(), ignore_cost=ignore_cost)

    def below(self, schema: Tree) -> Context:
        factor = _most_elements(self._schema)
        occurs = None if self._occurs is None or factor is None else min(MAX_COST, self._occurs * factor)
        return Context(schema, self.total, parent=self, occurs=occurs, ignore_cost=self._ignore_cost)

    @cached_property
    def type(self) -> Type | None:
        """None where the values of this place, or of one around it that has rules, have no type."""
        from timonel.machinery.cel import types

        if self._parent is not None and self._parent._in_scope and self._parent.type is None:
            return None
        is_root = self._parent is None or bool(self._schema.get("x-kubernetes-embedded-resource"))
        return types.of_schema(self._schema, root=is_root)

    def validate(self, path: str, uncorrelatable: str) -> Iterator[Cause]:
        rules = self._schema.get("x-kubernetes-validations") or ()
        at = f"{path}.x-kubernetes-validations"
        if self.type is None:
            yield field.internal(at, NO_TYPE)
            return
        for index, rule in enumerate(rules):
            yield from self._rule(rule, self.type, f"{at}[{index}]", uncorrelatable)

    def _rule(self, rule: Tree, of: Type, path: str, uncorrelatable: str) -> Iterator[Cause]:
        from timonel.machinery.structural.rules import OLD_SELF, environment

        if not (rule.get("rule") or "").strip():
            return
        env = environment(of, optional=bool(rule.get("optionalOldSelf")))
        program, problem = _compiled(env, rule["rule"], "bool")
        if program is not None:
            yield from self._cost(f"{path}.rule", "estimated rule cost", self._times(program, of))
        if problem:
            yield gotext.invalid(f"{path}.rule", gotext.rule(rule), _RULE_PROBLEMS.get(problem, problem))
        words = rule.get("messageExpression") or ""
        if words and not problem:
            yield from self._message(env, rule, words, path)
        elif words:
            _, wrong = _compiled(env, words, "string")
            yield from _wrong_message(rule, wrong, path)
        if program is not None and OLD_SELF in program.references:
            if uncorrelatable:
                detail = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
                yield field.invalid(f"{path}.rule", rule["rule"], detail)
        elif rule.get("optionalOldSelf") is not None:
            detail = "may not be set if oldSelf is not used in rule"
            yield field.invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], detail)

    def _message(self, env: Environment, rule: Tree, words: str, path: str) -> Iterator[Cause]:
        program, wrong = _compiled(env, words, "string")
        yield from _wrong_message(rule, wrong, path)
        if program is not None:
            name = "estimated messageExpression cost"
            yield from self._cost(f"{path}.messageExpression", name, program.estimate().max)

    def _times(self, program: Program, of: Type) -> int:
        occurs = LARGEST_REQUEST // (of.min_size + 1) if self._occurs is None else self._occurs
        cost: int = program.estimate().max * occurs
        return min(MAX_COST, cost)

    def _cost(self, path: str, name: str, cost: int) -> Iterator[Cause]:
        if not self._ignore_cost and cost > LIMIT:
            yield field.forbidden(path, too_expensive(name, cost, LIMIT))
        self.total.add(path, cost)


def _compiled(env: Environment, text: str, wanted: str) -> tuple[Program | None, str]:
    """The program, or what is wrong: the wanted type if only that."""
    from timonel.machinery.cel import CompileError, types
    from timonel.machinery.cel.errors import WrongResult

    try:
        return env.compile(text, returns=(types.BOOL if wanted == "bool" else types.STRING,)), ""
    except WrongResult:
        return None, wanted
    except CompileError as error:
        return None, f"compilation failed: {error}"


_RULE_PROBLEMS = {"bool": "cel expression must evaluate to a bool"}


def _wrong_message(rule: Tree, wrong: str, path: str) -> Iterator[Cause]:
    if wrong:
        detail = "must evaluate to a string" if wrong == "string" else wrong
        yield gotext.invalid(f"{path}.messageExpression", gotext.rule(rule), f"messageExpression {detail}")


def _most_elements(schema: Tree) -> int | None:
    """How many values of a child's schema one value of this one may have."""
    if schema.get("type") == "array":
        limit = schema.get("maxItems")
    elif schema.get("type") == "object" and schema.get("additionalProperties") is not None:
        limit = schema.get("maxProperties")
    else:
        return 1
    return None if limit is None else max(0, int(limit))

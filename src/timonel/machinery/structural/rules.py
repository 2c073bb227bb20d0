"""The rules of a schema (x-kubernetes-validations), evaluated on objects.

A rule sees its value as `self` and, on an update, the value before as `oldSelf`, where the two can be told to belong
together: by name in objects, by keys in lists of type map. A rule that names `oldSelf` is passed over where there is
none, unless it takes it as an optional. A rule without `oldSelf` that fails on a value that has not changed is a
warning. All rules of an object share one budget; when it is spent, the rest is not looked at.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/cel/{validation,compilation,maplist}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timonel.machinery import field
from timonel.machinery.cel import (
    Budget,
    CompileError,
    CostExceeded,
    Environment,
    EvaluationError,
    Program,
    types,
)
from timonel.machinery.cel.values import NOTHING, Optional
from timonel.machinery.errors import Cause
from timonel.machinery.structural import fieldpaths
from timonel.machinery.structural.correlation import Old, by_key, item_key
from timonel.machinery.structural.findings import NOWHERE
from timonel.machinery.structural.schema import Schema
from timonel.records import dataclass

MAX_MESSAGE_BYTES = 5 * 1024
SELF, OLD_SELF = "self", "oldSelf"
NO_MORE = "no further validation rules will be run"
OUT_OF_BUDGET = f"validation failed due to running out of cost budget, {NO_MORE}"
MESSAGE_OUT_OF_BUDGET = f"messageExpression evaluation failed due to running out of cost budget, {NO_MORE}"


class _Spent(Exception):
    """The budget is gone; what was found so far has been told."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled; `error` instead of a program that does not compile."""

    text: str
    message: str
    reason: str
    path: str  # below the value, as a cause says it
    optional: bool
    transition: bool
    program: Program | None
    words: Program | None  # of messageExpression
    words_text: str
    error: str

    @property
    def shown(self) -> str:
        return self.message or self.text


def environment(of: types.Type, *, optional: bool) -> Environment:
    """What a rule on values of this type may name."""
    return Environment({SELF: of, OLD_SELF: types.optional_of(of) if optional else of})


def compile_rule(tree: Mapping[str, Any], of: types.Type, schema: Schema) -> Rule:
    optional = bool(tree.get("optionalOldSelf"))
    env = environment(of, optional=optional)
    program = words = None
    error = ""
    text, words_text = tree.get("rule", "").strip(), tree.get("messageExpression", "")
    try:
        program = env.compile(text, returns=(types.BOOL,)) if text else None
    except CompileError as problem:
        error = str(problem)
    try:
        words = env.compile(words_text, returns=(types.STRING,)) if words_text else None
    except CompileError:
        words = None
    path = tree.get("fieldPath", "")
    return Rule(
        text=text,
        message=tree.get("message", "").strip(),
        reason=tree.get("reason") or "",
        path=fieldpaths.resolve(path, schema)[0] if path else "",
        optional=optional,
        transition=program is not None and OLD_SELF in program.references,
        program=program,
        words=words,
        words_text=words_text,
        error=error,
    )


class Rules:
    """The rules of a whole schema."""

    def __init__(self, schema: Schema, *, root: bool = True) -> None:
        self._root = _node(schema, root=root)

    def validate(
        self, obj: Any, old: Any = None, warnings: list[str] | None = None, path: str = ""
    ) -> Iterator[Cause]:
        if self._root is None:
            return
        run = _Run(Budget(), [] if warnings is None else warnings)
        kin = _Kin(None if old is None else (Old(old, self._root.schema), obj), None)
        try:
            yield from run.walk(self._root, obj, old, path, kin)
        except _Spent:
            return


@dataclass(frozen=True, slots=True)
class _Node:
    """One place in the schema that has rules, or a place below that has."""

    schema: Schema
    rules: tuple[Rule, ...]
    items: _Node | None
    members: Mapping[str, _Node]
    others: _Node | None
    all_of: tuple[_Node, ...]


def _node(schema: Schema, *, root: bool = False) -> _Node | None:
    """Types are made where rules need one; where rules cannot see values they are passed over, as upstream."""
    of = None
    if schema.rules or any(one.rules for one in schema.all_of):
        of = types.of_schema(schema.tree, root=root or schema.embedded)
    rules = () if of is None else tuple(compile_rule(tree, of, schema) for tree in schema.rules)
    items = None if schema.items is None else _node(schema.items)
    members = {key: node for key, below in schema.properties.items() if (node := _node(below)) is not None}
    others = None if schema.additional is None else _node(schema.additional)
    all_of = () if of is None else tuple(_restriction(one, of) for one in schema.all_of if one.rules)
    if not rules and items is None and not members and others is None and not all_of:
        return None
    return _Node(schema, rules, items, members, others, all_of)


def _restriction(schema: Schema, of: types.Type) -> _Node:
    """Rules in an allOf see the value of the schema around it."""
    return _Node(schema, tuple(compile_rule(tree, of, schema) for tree in schema.rules), None, {}, None, ())


@dataclass(frozen=True, slots=True)
class _Kin:
    """(old, new) at a place, None where they do not belong together; and those of the nearest place where they do."""

    here: tuple[Old, Any] | None
    above: tuple[Old, Any] | None

    def is_unchanged(self) -> bool:
        pair = self.here if self.here is not None else self.above
        return pair is not None and pair[0].is_same(pair[1])

    def member(self, key: str, new: Any) -> _Kin:
        if self.here is None:
            return self
        if self.above is None and key in ("apiVersion", "kind"):
            return _Kin(None, None)
        old = self.here[0].member(key)
        return _Kin(None if old is None else (old, new), self.here)

    def item(self, new: Any) -> _Kin:
        if self.here is None:
            return self
        old = self.here[0].item(new)
        return _Kin(None if old is None else (old, new), self.here)


class _Run:
    """One validation: what is left of the budget, and what was warned of."""

    def __init__(self, budget: Budget, warnings: list[str]) -> None:
        self._budget = budget
        self._warnings = warnings

    def walk(self, node: _Node, value: Any, old: Any, path: str, kin: _Kin) -> Iterator[Cause]:
        if value is None:
            return
        for rule in node.rules:
            yield from self._apply(rule, value, old, path, kin)
        for one in node.all_of:
            yield from self.walk(one, value, old, path, _Kin(None, kin.above))
        if type(value) is list and node.items is not None:
            yield from self._walk_items(node, node.items, value, old, path, kin)
        elif type(value) is dict:
            yield from self._walk_members(node, value, old, path, kin)

    def _walk_members(
        self, node: _Node, value: dict[str, Any], old: Any, path: str, kin: _Kin
    ) -> Iterator[Cause]:
        before: Mapping[str, Any] = old if type(old) is dict and node.schema.map_type != "atomic" else {}
        for key, item in value.items():
            below = node.members.get(key)
            if below is not None:
                yield from self.walk(
                    below, item, before.get(key), field.child(path, key), kin.member(key, item)
                )
            elif node.others is not None and key not in node.schema.properties:
                yield from self.walk(
                    node.others, item, before.get(key), f"{path}[{key}]", kin.member(key, item)
                )

    def _walk_items(
        self, node: _Node, each: _Node, value: list[Any], old: Any, path: str, kin: _Kin
    ) -> Iterator[Cause]:
        schema = node.schema
        keyed: Mapping[Any, Any] = {}
        if type(old) is list and schema.list_type == "map":
            keyed = by_key(schema, old)
        for index, item in enumerate(value):
            before = keyed.get(item_key(schema, item)) if keyed else None
            yield from self.walk(each, item, before, f"{path}[{index}]", kin.item(item))

    # ---- one rule

    def _apply(self, rule: Rule, value: Any, old: Any, path: str, kin: _Kin) -> Iterator[Cause]:
        at = path or NOWHERE
        if rule.error:
            yield _invalid(at, value, f"rule compile error: {rule.error}")
            return
        if rule.program is None or (rule.transition and old is None and not rule.optional):
            return
        if self._budget.remaining <= 0:
            yield _invalid(at, value, OUT_OF_BUDGET)
            raise _Spent
        variables = {SELF: value, OLD_SELF: old}
        if rule.optional:
            variables[OLD_SELF] = NOTHING if old is None else Optional(old)
        try:
            holds = rule.program.evaluate(variables, budget=self._budget)
        except CostExceeded as error:
            yield _invalid(at, value, self._spent(error, rule))
            raise _Spent from error
        except EvaluationError as error:
            yield _invalid(at, value, _failed(error, rule))
            return
        if holds is not True:
            yield from self._broken(rule, variables, value, path, kin)

    def _spent(self, error: CostExceeded, rule: Rule) -> str:
        if self._budget.exhausted:
            return OUT_OF_BUDGET
        return f"'{error}': {NO_MORE} due to call cost exceeds limit for rule: {rule.shown}"

    def _broken(
        self, rule: Rule, variables: Mapping[str, Any], value: Any, path: str, kin: _Kin
    ) -> Iterator[Cause]:
        at = (f"{path}{rule.path}" if path else rule.path.removeprefix(".")) or NOWHERE
        detail, is_over = self._words(rule, variables)
        if is_over:
            cause = _invalid(at, value, detail)
        else:
            cause = _refused(at, value, detail or rule.message or f"failed rule: {rule.text}", rule.reason)
        if not rule.transition and kin.is_unchanged():
            self._warnings.append(str(cause))
        else:
            yield cause
        if is_over:
            raise _Spent

    def _words(self, rule: Rule, variables: Mapping[str, Any]) -> tuple[str, bool]:
        """(what the rule's own expression says, whether the budget is spent); empty where it says nothing of use."""
        if rule.words is None:
            return "", False
        try:
            found = rule.words.evaluate(variables, budget=self._budget)
        except CostExceeded:
            if self._budget.exhausted:
                return MESSAGE_OUT_OF_BUDGET, True
            shown = field.quote(rule.words_text)
            return (
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: "
                f"{shown}",
                True,
            )
        except EvaluationError:
            return "", False
        text = found.strip() if type(found) is str else ""
        return ("" if "\n" in text or len(text.encode()) > MAX_MESSAGE_BYTES else text), False


def _failed(error: EvaluationError, rule: Rule) -> str:
    if str(error).startswith("no such overload"):
        return (
            f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: "
            f"{rule.shown}"
        )
    return f"{error} evaluating rule: {rule.shown}"


# ---- causes, which show the value where it is a single one


def _invalid(path: str, value: Any, detail: str) -> Cause:
    if type(value) in (dict, list):
        return Cause("FieldValueInvalid", f"Invalid value: {detail}", path)
    return field.invalid(path, value, detail)


def _refused(path: str, value: Any, detail: str, reason: str) -> Cause:
    if reason == "FieldValueForbidden":
        return field.forbidden(path, detail)
    if reason == "FieldValueRequired":
        return field.required(path, detail)
    if reason == "FieldValueDuplicate":
        if type(value) in (dict, list):
            return Cause("FieldValueDuplicate", "Duplicate value", path)
        return field.duplicate(path, value)
    return _invalid(path, value, detail)

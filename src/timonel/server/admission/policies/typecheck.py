"""What is suspicious about the expressions of a ValidatingAdmissionPolicy, given the kinds that it is for. Pure.

Upstream: apiserver/pkg/admission/plugin/policy/validating/typechecking.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from timonel.apis.expressions import ANYTHING, BadExpression, Expressions
from timonel.objects.meta import Object

if TYPE_CHECKING:
    from timonel.machinery.cel.types import Type

MOST_TYPES = 10


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


Find = Callable[[str, str, str], Kind | None]  # group, version, resource
Resolve = Callable[[Kind], "Type | None"]


def kinds_of(policy: Object, find: Find) -> Sequence[Kind]:
    """The kinds that the rules name; rules with wildcards name none."""
    found: set[Kind] = set()
    for rule in (policy["spec"].get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or [], rule.get("apiVersions") or []
        if any("*" in text for text in (*groups, *versions)):
            continue
        resources = [r for r in rule.get("resources") or () if "*" not in r and "/" not in r]
        named = list(islice(_named(sorted(groups), sorted(versions), sorted(resources), find), MOST_TYPES))
        found.update(named)
        if len(named) == MOST_TYPES:
            break
    return sorted(found)


def _named(
    groups: Iterable[str], versions: Sequence[str], resources: Sequence[str], find: Find
) -> Iterator[Kind]:
    for group in groups:
        for version in versions:
            for resource in resources:
                kind = find(group, version, resource)
                if kind is not None:
                    yield kind


def warnings(policy: Object, find: Find, resolve: Resolve) -> list[Object]:
    """The `expressionWarnings` of its status."""
    spec = policy["spec"]
    params = spec.get("paramKind")
    params_type = None
    if params is not None:
        group, _, version = str(params.get("apiVersion", "")).rpartition("/")
        params_type = resolve(Kind(group, version, str(params.get("kind", ""))))
    known = [(kind, found) for kind in kinds_of(policy, find) if (found := resolve(kind)) is not None]
    checked = [(kind, _expressions(spec, found, params_type)) for kind, found in known]
    told = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for key in ("expression", "messageExpression"):
            text = validation.get(key)
            problems = [p for kind, e in checked if text and (p := _problem(kind, text, e))]
            if problems:
                told.append({"fieldRef": f"spec.validations[{index}].{key}", "warning": "\n".join(problems)})
    return told


def _expressions(spec: Object, object_type: Type, params_type: Type | None) -> Expressions:
    expressions = Expressions(
        params=params_type is not None, composed=True, object_type=object_type, params_type=params_type
    )
    for variable in spec.get("variables") or ():
        try:
            program = expressions.compile(variable["expression"], ANYTHING)
        except BadExpression:
            program = None
        expressions.declare(variable["name"], program)
    return expressions


def _problem(kind: Kind, text: str, expressions: Expressions) -> str:
    try:
        expressions.compile(text, ANYTHING)
    except BadExpression as error:
        return f"{kind}: {str(error).removeprefix('compilation failed: ')}\n"
    return ""

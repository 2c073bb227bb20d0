"""CEL expressions in configuration files: over `claims` of a JWT, over the `user` they map to, over an access review.

Upstream: apiserver/pkg/authentication/cel/compile.go, apiserver/pkg/authorization/cel/compile.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timonel.machinery import cel

BUDGET = 10_000_000  # as upstream's PerCallLimit, for a whole expression


class Compiled:
    def __init__(self, text: str, program: cel.Program) -> None:
        self.text = text
        self._program = program

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Raises ValueError with the reason."""
        from timonel.machinery import cel

        try:
            return self._program.evaluate(dict(variables), budget=cel.Budget(BUDGET))
        except (cel.EvaluationError, cel.CostExceeded) as e:
            raise ValueError(str(e)) from e


def claims_expression(text: str, *, truth: bool) -> Compiled:
    """Raises ValueError with the compiler's words."""
    from timonel.machinery.cel import types

    return _compile(text, {"claims": types.map_of(types.STRING, types.DYN)}, truth=truth)


def user_expression(text: str, *, truth: bool = True) -> Compiled:
    from timonel.machinery.cel import types

    texts = types.list_of(types.STRING)
    user = types.object(
        "kubernetes.UserInfo",
        {
            "username": types.STRING,
            "uid": types.STRING,
            "groups": texts,
            "extra": types.map_of(types.STRING, texts),
        },
    )
    return _compile(text, {"user": user}, truth=truth)


def request_expression(text: str, *, truth: bool = True) -> Compiled:
    from timonel.machinery.cel import types

    texts = types.list_of(types.STRING)
    requirement = types.object(
        "kubernetes.SelectorRequirement", {"key": types.STRING, "operator": types.STRING, "values": texts}
    )
    selector = types.object(
        "kubernetes.SelectorAttributes",
        {"rawSelector": types.STRING, "requirements": types.list_of(requirement)},
    )
    names = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
    resource = types.object(
        "kubernetes.ResourceAttributes",
        {**dict.fromkeys(names, types.STRING), "fieldSelector": selector, "labelSelector": selector},
    )
    other = types.object("kubernetes.NonResourceAttributes", dict.fromkeys(("path", "verb"), types.STRING))
    request = types.object(
        "kubernetes.SubjectAccessReviewSpec",
        {
            "resourceAttributes": resource,
            "nonResourceAttributes": other,
            "user": types.STRING,
            "groups": texts,
            "extra": types.map_of(types.STRING, texts),
            "uid": types.STRING,
        },
    )
    return _compile(text, {"request": request}, truth=truth)


def _compile(text: str, variables: Mapping[str, cel.types.Type], *, truth: bool) -> Compiled:
    from timonel.machinery import cel

    returns = (cel.types.BOOL,) if truth else ()  # what a claim becomes is looked at when it is known
    try:
        program = cel.Environment(dict(variables)).compile(text, returns=returns)
    except cel.CompileError as e:
        raise ValueError(f"compilation failed: {e}") from e
    if truth and program.result != cel.types.BOOL:  # a claim of unknown type is no condition
        raise ValueError("compilation failed: must evaluate to bool")
    return Compiled(text, program)

"""The mutations of a MutatingAdmissionPolicy: apply configurations and JSON patches, computed and carried out.

Upstream: apiserver/pkg/admission/plugin/policy/mutating/patch/{smd,json_patch}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from timonel.apis.expressions import CONFIGURATION, JSON_PATCH, Expressions
from timonel.machinery.field import quote
from timonel.machinery.patch.json import PatchFailed, PatchMalformed, TestFailed, json_patch
from timonel.objects.meta import Object
from timonel.server.admission.expressions import (
    BUDGET,
    Compiled,
    Conditions,
    EvaluationFailed,
    Given,
    Variables,
    compiled,
    variables,
)
from timonel.server.registry import Endpoint

if TYPE_CHECKING:
    from timonel.machinery.cel import Budget


class MutationFailed(Exception):
    """A mutation cannot be computed or carried out."""


class Mutations:
    """The compiled expressions of one policy."""

    def __init__(self, spec: Object) -> None:
        params = spec.get("paramKind") is not None
        conditions = spec.get("matchConditions")
        self.conditions = Conditions(conditions, params=params) if conditions else None
        expressions = Expressions(params=params, patches=True)
        self._variables = variables(expressions, spec.get("variables") or ())
        self.steps = [_step(expressions, tree) for tree in spec.get("mutations") or ()]

    def mutated(self, step: Compiled, is_patch: bool, given: Given, endpoint: Endpoint | None) -> Object:
        """The object after one mutation, in the form that is matched. Raises MutationFailed."""
        from timonel.machinery.cel import Budget

        assert given.obj is not None
        budget = Budget(BUDGET)
        try:
            value = step.value(self._values(given, budget), budget)
        except EvaluationFailed as failure:
            raise MutationFailed(str(failure)) from failure
        if is_patch:
            return _patched(given.obj, value)
        if endpoint is None:
            raise MutationFailed("error applying patch: the kind has no fields to merge")
        return _merged(endpoint, given.obj, value)

    def _values(self, given: Given, budget: Budget) -> Mapping[str, Any]:
        values = given.values()
        return (
            {**values, "variables": Variables(self._variables, values, budget)} if self._variables else values
        )


def _step(expressions: Expressions, tree: Object) -> tuple[Compiled, bool]:
    """The expression, and whether it gives a JSON patch."""
    if tree["patchType"] == "JSONPatch":
        return compiled(expressions, tree["jsonPatch"]["expression"], JSON_PATCH), True
    return compiled(expressions, tree["applyConfiguration"]["expression"], CONFIGURATION), False


def _merged(endpoint: Endpoint, obj: Object, value: Any) -> Object:
    _check_types(value, "Object")
    config = _plain(value) | {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    try:
        return endpoint.machinery.fields.merged(obj, config)
    except ValueError as error:
        raise MutationFailed(f"error applying patch: {error}") from error


def _patched(obj: Object, operations: Any) -> Object:
    steps = []
    for operation in operations:
        step = dict(operation)
        if "value" in step:
            if getattr(step["value"], "cel_type", ""):
                _check_types(step["value"], str(step["value"].cel_type))
            step["value"] = _plain(step["value"])
        if not step.get("from"):
            step.pop("from", None)
        steps.append(step)
    try:
        patched: Object = json_patch(obj, steps)
    except TestFailed:
        return obj  # a test that fails makes the patch one that does nothing
    except (PatchFailed, PatchMalformed) as error:
        raise MutationFailed(f"JSONPath: {error}") from error
    return patched


def _check_types(value: Any, path: str) -> None:
    """An initializer is named after where it stands: Object.spec{} belongs into the field spec."""
    if isinstance(value, list | tuple):
        for item in value:
            _check_types(item, path)
        return
    if not isinstance(value, dict):
        return
    named = getattr(value, "cel_type", "")
    if named and named != path:
        raise MutationFailed(
            f"type mismatch: unexpected type name {quote(named)}, expected {quote(path)}, which matches field name "
            "path from root Object type"
        )
    for key, item in value.items():
        _check_types(item, f"{path}.{key}")


def _plain(value: Any) -> Any:
    """As JSON trees are made of; optional fields without a value are left out by the engine."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)

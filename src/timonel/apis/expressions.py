"""The CEL environments of admission: which variables an expression may use, and what it must evaluate to.

Used when a webhook configuration or policy is stored (what does not compile is refused) and when it is evaluated. The
engine is imported with the first expression: most servers never see one.

Upstream: apiserver/pkg/admission/plugin/cel/{compile,composition}.go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.records import dataclass

if TYPE_CHECKING:
    from timonel.machinery.cel import Environment, Program
    from timonel.machinery.cel.types import Type

VARIABLES_TYPE = "kubernetes.variables"
BOOLEAN, TEXT, TEXT_OR_NULL, ANYTHING = "bool", "string", "string or null", "any"
CONFIGURATION, JSON_PATCH = "Object", "list(JSONPatch)"

_GVK = ("group", "version", "kind")
_GVR = ("group", "version", "resource")


class BadExpression(ValueError):
    """It does not compile, or evaluates to something else; the text is what follows `Invalid value: "…": `."""


def request_type() -> Type:
    from timonel.machinery.cel import types

    text = types.STRING
    kind = types.object("kubernetes.GroupVersionKind", dict.fromkeys(_GVK, text))
    resource = types.object("kubernetes.GroupVersionResource", dict.fromkeys(_GVR, text))
    user = types.object(
        "kubernetes.UserInfo",
        {
            "username": text,
            "uid": text,
            "groups": types.list_of(text),
            "extra": types.map_of(text, types.list_of(text)),
        },
    )
    return types.object(
        "kubernetes.AdmissionRequest",
        {
            "kind": kind,
            "resource": resource,
            "subResource": text,
            "requestKind": kind,
            "requestResource": resource,
            "requestSubResource": text,
            "name": text,
            "namespace": text,
            "operation": text,
            "userInfo": user,
            "dryRun": types.BOOL,
            "options": types.DYN,
        },
    )


def namespace_type() -> Type:
    from timonel.machinery.cel import types

    text, words = types.STRING, types.map_of(types.STRING, types.STRING)
    condition = types.object(
        "kubernetes.NamespaceCondition",
        {
            "status": text,
            "type": text,
            "lastTransitionTime": types.TIMESTAMP,
            "message": text,
            "reason": text,
        },
    )
    metadata = {
        "name": text,
        "generateName": text,
        "namespace": text,
        "labels": words,
        "annotations": words,
        "UID": text,
        "creationTimestamp": types.TIMESTAMP,
        "deletionGracePeriodSeconds": types.INT,
        "deletionTimestamp": types.TIMESTAMP,
        "generation": types.INT,
        "resourceVersion": text,
        "finalizers": types.list_of(text),
    }
    return types.object(
        "kubernetes.Namespace",
        {
            "metadata": types.object("kubernetes.NamespaceMetadata", metadata),
            "spec": types.object("kubernetes.NamespaceSpec", {"finalizers": types.list_of(text)}),
            "status": types.object(
                "kubernetes.NamespaceStatus", {"conditions": types.list_of(condition), "phase": text}
            ),
        },
    )


@dataclass(slots=True)
class Expressions:
    """Compiles the expressions of one configuration or policy.

    `declare` adds a variable (`variables.x`), which the expressions compiled after it may use. One that does not
    compile can be anything from then on, so that only its own fault is told.
    """

    params: bool = False
    composed: bool = False  # `variables` can be referred to, even while there are none
    patches: bool = False  # Object{} and JSONPatch{} may be constructed
    object_type: Type | None = None  # of object and oldObject; None: anything
    params_type: Type | None = None
    variables: dict[str, Type] = dataclasses.field(default_factory=dict)
    _environments: dict[tuple[bool, int], Environment] = dataclasses.field(default_factory=dict)

    def _environment(self, authorizer: bool) -> Environment:
        from timonel.machinery.cel import KUBERNETES, MUTATION, Environment, types

        key = (authorizer, len(self.variables))
        found = self._environments.get(key)
        if found is not None:
            return found
        declared: dict[str, Type] = {
            "object": self.object_type or types.DYN,
            "oldObject": self.object_type or types.DYN,
            "namespaceObject": namespace_type(),
            "request": request_type(),
        }
        if self.params:
            declared["params"] = self.params_type or types.DYN
        if authorizer:
            declared["authorizer"] = types.opaque("kubernetes.authorization.Authorizer")
            declared["authorizer.requestResource"] = types.opaque("kubernetes.authorization.ResourceCheck")
        if self.composed or self.variables:
            declared["variables"] = types.object(VARIABLES_TYPE, self.variables)
        if self.patches:
            from timonel.apis.applyobjects import MutationEnvironment

            found = MutationEnvironment(declared, libraries=MUTATION)
        else:
            found = Environment(declared, libraries=KUBERNETES)
        self._environments[key] = found
        return found

    def compile(self, expression: str, returns: str, *, authorizer: bool = True) -> Program:
        """Raises BadExpression."""
        from timonel.machinery.cel import CompileError, WrongResult

        wanted = _returns(returns)
        try:
            return self._environment(authorizer).compile(expression, returns=wanted)
        except WrongResult as error:
            raise BadExpression(f"{error} but got {error.actual}") from error
        except CompileError as error:
            raise BadExpression(f"compilation failed: {error}") from error

    def declare(self, name: str, program: Program | None) -> None:
        """None: of an expression that does not compile."""
        from timonel.machinery.cel import types

        self.variables = {**self.variables, name: types.DYN if program is None else program.result}


def _returns(wanted: str) -> tuple[Type, ...]:
    from timonel.machinery.cel import types

    known: Mapping[str, tuple[Type, ...]] = {
        BOOLEAN: (types.BOOL,),
        TEXT: (types.STRING,),
        TEXT_OR_NULL: (types.STRING, types.NULL),
        ANYTHING: (),
        CONFIGURATION: (types.object(CONFIGURATION, {}),),
        JSON_PATCH: (types.list_of(types.object("JSONPatch", {})),),
    }
    return known[wanted]


def validate(
    path: str, text: str, expressions: Expressions, returns: str, *, authorizer: bool = True
) -> Iterator[Cause]:
    try:
        expressions.compile(text, returns, authorizer=authorizer)
    except BadExpression as error:
        yield field.invalid(path, text, str(error))


def validate_variable(path: str, name: str, text: str, expressions: Expressions) -> Iterator[Cause]:
    """And declare it for the expressions that follow."""
    program = None
    try:
        program = expressions.compile(text, ANYTHING)
    except BadExpression as error:
        yield field.invalid(path, text, str(error))
    expressions.declare(name, program)

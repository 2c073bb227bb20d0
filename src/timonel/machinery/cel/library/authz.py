"""The authorizer: questions about what the caller may do, asked step by step.

What answers is passed in as a value (`authorizer`, `authorizer.requestResource`). It implements `Authorizer`; the steps
are made here, so it only has to answer the finished question.

Upstream: apiserver/pkg/cel/library/authz.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from timonel.machinery.cel.errors import EvaluationError
from timonel.machinery.cel.functions import Overload, member
from timonel.machinery.cel.types import BOOL, STRING, opaque
from timonel.records import dataclass

AUTHORIZER = opaque("kubernetes.authorization.Authorizer")
PATH_CHECK = opaque("kubernetes.authorization.PathCheck")
GROUP_CHECK = opaque("kubernetes.authorization.GroupCheck")
RESOURCE_CHECK = opaque("kubernetes.authorization.ResourceCheck")
DECISION = opaque("kubernetes.authorization.Decision")
TYPES = (AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION)


@dataclass(frozen=True, slots=True)
class Question:
    """A finished question. `service_account` is (namespace, name) when the rule asks about another caller."""

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`error` is the text of what went wrong while deciding, if anything did."""

    allowed: bool
    reason: str = ""
    error: str = ""


class Answers(Protocol):
    """Decides questions, at once: whoever evaluates has made sure that no waiting is needed."""

    def __call__(self, question: Question, /) -> Answer: ...


class _Value:
    __slots__ = ("answers", "question")

    cel_type = ""

    def __init__(self, answers: Answers, question: Question) -> None:
        self.answers = answers
        self.question = question


class AuthorizerValue(_Value):
    """The variable `authorizer`."""

    __slots__ = ()

    cel_type = "kubernetes.authorization.Authorizer"

    def __init__(self, answers: Answers, question: Question | None = None) -> None:
        super().__init__(answers, question if question is not None else Question(""))


class PathCheck(_Value):
    __slots__ = ()
    cel_type = "kubernetes.authorization.PathCheck"


class GroupCheck(_Value):
    __slots__ = ()
    cel_type = "kubernetes.authorization.GroupCheck"


class ResourceCheck(_Value):
    """Also what `authorizer.requestResource` is: made with the request's own group, resource, namespace and name."""

    __slots__ = ()
    cel_type = "kubernetes.authorization.ResourceCheck"


class DecisionValue:
    __slots__ = ("answer",)

    cel_type = "kubernetes.authorization.Decision"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def _path(value: AuthorizerValue, path: str) -> PathCheck:
    if not path:
        raise EvaluationError("path must not be empty")
    return PathCheck(value.answers, replace(value.question, path=path))


def _service_account(value: AuthorizerValue, namespace: str, name: str) -> AuthorizerValue:
    return AuthorizerValue(value.answers, replace(value.question, service_account=(namespace, name)))


def _group(value: AuthorizerValue, group: str) -> GroupCheck:
    return GroupCheck(value.answers, replace(value.question, group=group))


def _resource(value: GroupCheck, resource: str) -> ResourceCheck:
    return ResourceCheck(value.answers, replace(value.question, resource=resource))


def _set(attribute: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    def change(value: ResourceCheck, text: str) -> ResourceCheck:
        changes: dict[str, Any] = {attribute: text}
        return ResourceCheck(value.answers, replace(value.question, **changes))

    return change


def _check(value: PathCheck | ResourceCheck, verb: str) -> DecisionValue:
    return DecisionValue(value.answers(replace(value.question, verb=verb)))


def _errored(value: DecisionValue) -> bool:
    return bool(value.answer.error)


FUNCTIONS: tuple[Overload, ...] = (
    member("authorizer_path", "path", (AUTHORIZER, STRING), PATH_CHECK, _path),
    member("authorizer_group", "group", (AUTHORIZER, STRING), GROUP_CHECK, _group),
    member(
        "authorizer_serviceaccount",
        "serviceAccount",
        (AUTHORIZER, STRING, STRING),
        AUTHORIZER,
        _service_account,
    ),
    member("groupcheck_resource", "resource", (GROUP_CHECK, STRING), RESOURCE_CHECK, _resource),
    member(
        "resourcecheck_subresource",
        "subresource",
        (RESOURCE_CHECK, STRING),
        RESOURCE_CHECK,
        _set("subresource"),
    ),
    member(
        "resourcecheck_namespace", "namespace", (RESOURCE_CHECK, STRING), RESOURCE_CHECK, _set("namespace")
    ),
    member("resourcecheck_name", "name", (RESOURCE_CHECK, STRING), RESOURCE_CHECK, _set("name")),
    member(
        "authorizer_fieldselector",
        "fieldSelector",
        (RESOURCE_CHECK, STRING),
        RESOURCE_CHECK,
        _set("field_selector"),
    ),
    member(
        "authorizer_labelselector",
        "labelSelector",
        (RESOURCE_CHECK, STRING),
        RESOURCE_CHECK,
        _set("label_selector"),
    ),
    member("pathcheck_check", "check", (PATH_CHECK, STRING), DECISION, _check),
    member("resourcecheck_check", "check", (RESOURCE_CHECK, STRING), DECISION, _check),
    member("decision_allowed", "allowed", (DECISION,), BOOL, lambda value: value.answer.allowed),
    member("decision_reason", "reason", (DECISION,), STRING, lambda value: value.answer.reason),
    member("decision_errored", "errored", (DECISION,), BOOL, _errored),
    member("decision_error", "error", (DECISION,), STRING, lambda value: value.answer.error),
)

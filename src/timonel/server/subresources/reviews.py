"""Reviews: who is this token, may this user do that? Answered from memory, nothing is stored.

Upstream: pkg/registry/authentication/{tokenreview,selfsubjectreview}, pkg/registry/authorization/*,
pkg/apis/authorization/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from timonel.aio.clock import Clock
from timonel.machinery import errors, field, names, selectors
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, format_time
from timonel.server.auth.authn import TokenUnion, with_authenticated_group
from timonel.server.auth.node import node_of
from timonel.server.auth.rbac import RbacAuthorizer
from timonel.server.auth.verified import TokenError
from timonel.server.request import ActionCall, Attributes, Authorizer, Decision, User, Verdict

AUTHORIZATION = "authorization.k8s.io"
_ONE_OF = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


def user_info(user: User) -> Object:
    found: Object = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return found


class TokenReview:
    def __init__(self, tokens: TokenUnion) -> None:
        self._tokens = tokens

    async def act(self, call: ActionCall) -> Object:
        spec = call.obj.get("spec") or {}
        if not spec.get("token"):
            raise errors.BadRequest("token is required for TokenReview in authentication")
        try:
            found = await self._tokens.authenticate(spec["token"], spec.get("audiences") or ())
        except TokenError as e:
            status: Object = {"user": {}, "error": str(e)}
        else:
            status = {
                "authenticated": True,
                "user": user_info(with_authenticated_group(found.user)),
                "audiences": list(found.audiences),
            }
        return {**call.obj, "status": status}


class SelfSubjectReview:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def act(self, call: ActionCall) -> Object:
        return {
            "kind": call.obj["kind"],
            "apiVersion": call.obj["apiVersion"],
            "metadata": {"creationTimestamp": format_time(self._clock.now())},
            "status": {"userInfo": user_info(call.user)},
        }


class SubjectAccessReview:
    """SubjectAccessReview and LocalSubjectAccessReview: about somebody."""

    def __init__(self, authorizer: Authorizer, *, local: bool = False) -> None:
        self._authorizer = authorizer
        self._local = local

    async def act(self, call: ActionCall) -> Object:
        spec = call.obj.get("spec") or {}
        causes = list(_attribute_causes(spec))
        if not spec.get("user") and not spec.get("groups"):
            text = "at least one of user or group must be specified"
            causes.append(field.invalid("spec.user", spec.get("user", ""), text))
        if self._local and not causes:
            causes = list(_local_causes(call, spec))
        _refuse(causes)
        extra = {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
        return {**call.obj, "status": _status(self._authorizer, user, spec)}


class SelfSubjectAccessReview:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def act(self, call: ActionCall) -> Object:
        spec = call.obj.get("spec") or {}
        _refuse(list(_attribute_causes(spec)))
        return {**call.obj, "status": _status(self._authorizer, call.user, spec)}


class SelfSubjectRulesReview:
    def __init__(self, rbac: RbacAuthorizer, authorizer: Authorizer) -> None:
        self._rbac = rbac
        self._authorizer = authorizer

    async def act(self, call: ActionCall) -> Object:
        namespace = (call.obj.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise errors.BadRequest("no namespace on request")
        rules, problems = self._rbac.rules_for(call.user, namespace)
        status: Object = {
            "resourceRules": [
                _shown(r, "apiGroups", "resources", "resourceNames") for r in rules if r.get("resources")
            ],
            "nonResourceRules": [_shown(r, "nonResourceURLs") for r in rules if r.get("nonResourceURLs")],
            "incomplete": False,
        }
        if node_of(call.user) is not None:
            problems = [*problems, "node authorizer does not support user rule resolution"]
        if getattr(self._authorizer, "waits", False):
            problems = [*problems, "webhook authorizer does not support user rule resolution"]
        if problems:
            status["incomplete"] = True
            status["evaluationError"] = ", ".join(problems)
        return {
            "kind": call.obj["kind"],
            "apiVersion": call.obj["apiVersion"],
            "metadata": call.obj.get("metadata") or {},
            "spec": {},
            "status": status,
        }


def _shown(rule: Object, *keys: str) -> Object:
    return {key: list(rule[key]) for key in ("verbs", *keys) if rule.get(key)}


def _refuse(causes: list[Cause]) -> None:
    if causes:
        raise errors.invalid("", "", causes, AUTHORIZATION)


def _attribute_causes(spec: Object) -> Iterator[Cause]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        text = "cannot be specified in combination with resourceAttributes"
        yield field.invalid("spec.nonResourceAttributes", path, text)
    if resource is None and path is None:
        yield field.invalid("spec.resourceAttributes", None, _ONE_OF)
    if resource is not None:
        yield from _selector_causes(
            "spec.resourceAttributes.labelSelector", resource.get("labelSelector"), True
        )
        yield from _selector_causes(
            "spec.resourceAttributes.fieldSelector", resource.get("fieldSelector"), False
        )


def _local_causes(call: ActionCall, spec: Object) -> Iterator[Cause]:
    resource = spec.get("resourceAttributes")
    if resource is None:
        text = "disallowed on this kind of request"
        yield field.invalid("spec.nonResourceAttributes", spec.get("nonResourceAttributes"), text)
    elif resource.get("namespace", "") != call.namespace:
        text = "must match metadata.namespace"
        yield field.invalid("spec.resourceAttributes.namespace", resource.get("namespace", ""), text)


def _selector_causes(path: str, selector: Object | None, labels: bool) -> Iterator[Cause]:
    if selector is None:
        return
    requirements, raw = selector.get("requirements") or [], selector.get("rawSelector", "")
    if requirements and raw:
        text = "may not specified at the same time as requirements"
        yield field.invalid(f"{path}.rawSelector", raw, text)
    elif not requirements and not raw:
        text = f"when {path} is specified, requirements or rawSelector is required"
        yield field.required(f"{path}.requirements", text)
    for index, requirement in enumerate(requirements):
        yield from _requirement_causes(f"{path}.requirements[{index}]", requirement, labels)


def _requirement_causes(path: str, requirement: Object, labels: bool) -> Iterator[Cause]:
    key, values = requirement.get("key", ""), requirement.get("values") or []
    if not labels and not key:
        yield field.required(f"{path}.key", "must be specified")
    operator = requirement.get("operator", "")
    if operator in ("In", "NotIn") and not values:
        yield field.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    if operator in ("Exists", "DoesNotExist") and values:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield field.forbidden(f"{path}.values", text)
    if labels:
        for message in names.qualified_name(key):
            yield field.invalid(f"{path}.key", key, message)
        for index, value in enumerate(values):
            for message in names.label_value(value):
                yield field.invalid(f"{path}.values[{index}]", value, message)


def _status(authorizer: Authorizer, user: User, spec: Object) -> Object:
    problems: list[str] = []
    decision = authorizer.authorize(_attributes(user, spec, problems))
    return _answer(decision, problems)


def _answer(decision: Decision, problems: list[str]) -> Object:
    status: dict[str, Any] = {"allowed": decision.verdict is Verdict.ALLOW}
    if decision.verdict is Verdict.DENY:
        status["denied"] = True
    if decision.reason:
        status["reason"] = decision.reason
    if decision.problem:
        problems = [*problems, decision.problem]
    if problems:
        status["evaluationError"] = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return status


def _attributes(user: User, spec: Object, problems: list[str]) -> Attributes:
    resource = spec.get("resourceAttributes")
    if resource is None:
        path = spec.get("nonResourceAttributes") or {}
        return Attributes(user, path.get("verb", ""), path=path.get("path", ""))
    return Attributes(
        user,
        resource.get("verb", ""),
        group=resource.get("group", ""),
        version=resource.get("version", ""),
        resource=resource.get("resource", ""),
        subresource=resource.get("subresource", ""),
        namespace=resource.get("namespace", ""),
        name=resource.get("name", ""),
        field_selector=_field_selector(resource.get("fieldSelector"), problems),
        label_selector=_label_selector(resource.get("labelSelector"), problems),
    )


def _label_selector(selector: Object | None, problems: list[str]) -> str:
    if selector is None:
        return ""
    requirements = selector.get("requirements") or []
    try:
        if not requirements:
            return str(selectors.parse_label_selector(selector.get("rawSelector", "")))
        if all(r.get("operator") in ("In", "NotIn", "Exists", "DoesNotExist") for r in requirements):
            return str(selectors.from_label_selector({"matchExpressions": requirements}))
    except ValueError:
        pass  # told below: a broken selector restricts nothing
    problems.append("spec.resourceAttributes.labelSelector ignored due to parse error")
    return ""


def _field_selector(selector: Object | None, problems: list[str]) -> str:
    if selector is None:
        return ""
    requirements = selector.get("requirements") or []
    ignored = "spec.resourceAttributes.fieldSelector ignored due to parse error"
    if not requirements:
        try:
            return str(selectors.parse_field_selector(selector.get("rawSelector", "")))
        except ValueError:
            problems.append(ignored)
            return ""
    terms: list[str] = []
    for requirement in requirements:
        values, operator = requirement.get("values") or [], requirement.get("operator")
        if operator in ("In", "NotIn") and len(values) == 1:
            terms.append(f"{requirement['key']}{'=' if operator == 'In' else '!='}{values[0]}")
        elif ignored not in problems:
            problems.append(ignored)
    return ",".join(terms)

"""Which FlowSchema a request belongs to. Pure; a schema is compiled once, and asked for each pair of user and target.

Upstream: apiserver/pkg/util/flowcontrol/rule.go, apf_controller.go (computeFlowDistinguisher).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from timonel.objects.meta import Object
from timonel.server.chain.info import Info
from timonel.server.flowcontrol.defaults import BY_NAMESPACE, BY_USER
from timonel.server.request import User

SERVICE_ACCOUNT = "system:serviceaccount:"
Matches = Callable[[User, Info], bool]


def compiled(spec: Object) -> Matches:
    """Whether any of the rules of a FlowSchema has both a subject and a target that fit."""
    rules = [
        (
            rule.get("subjects") or (),
            rule.get("resourceRules") or (),
            rule.get("nonResourceRules") or (),
        )
        for rule in spec.get("rules") or ()
    ]

    def matches(user: User, info: Info) -> bool:
        for subjects, resources, others in rules:
            if not any(_is(subject, user) for subject in subjects):
                continue
            if info.is_resource:
                if any(_is_resource(rule, info) for rule in resources):
                    return True
            elif any(_is_path(rule, info) for rule in others):
                return True
        return False

    return matches


def distinguisher(spec: Object, user: User, info: Info) -> str:
    """What tells the flows of one schema apart."""
    method = (spec.get("distinguisherMethod") or {}).get("type", "")
    if method == BY_USER:
        return user.name
    if method == BY_NAMESPACE:
        return info.namespace
    return ""


def precedence(schema: Object) -> tuple[int, str]:
    return schema["spec"].get("matchingPrecedence", 0), schema["metadata"]["name"]


def _is(subject: Object, user: User) -> bool:
    kind = subject.get("kind")
    if kind == "User":
        name = subject["user"]["name"]
        return name in ("*", user.name)
    if kind == "Group":
        name = subject["group"]["name"]
        return name == "*" or name in user.groups
    account = subject.get("serviceAccount") or {}
    namespace, name = account.get("namespace", ""), account.get("name", "")
    if name == "*":
        return user.name.startswith(f"{SERVICE_ACCOUNT}{namespace}:")
    return user.name == f"{SERVICE_ACCOUNT}{namespace}:{name}"


def _is_resource(rule: Object, info: Info) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule.get("verbs"), info.verb)
        and _has(rule.get("apiGroups"), info.group)
        and _has(rule.get("resources"), resource)
    ):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces"), info.namespace)


def _is_path(rule: Object, info: Info) -> bool:
    if not _has(rule.get("verbs"), info.verb):
        return False
    for url in rule.get("nonResourceURLs") or ():
        if url in ("*", info.path) or (url.endswith("/*") and info.path.startswith(url[:-1])):
            return True
    return False


def _has(listed: Iterable[str] | None, value: str) -> bool:
    return any(each in ("*", value) for each in listed or ())

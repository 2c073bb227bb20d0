"""May this user do this? The question, and the refusal in upstream's words.

Upstream: apiserver/pkg/endpoints/filters/authorization.go, handlers/responsewriters/errors.go.
"""

from __future__ import annotations

from timonel.machinery import errors, field
from timonel.server.chain.info import Info
from timonel.server.request import Attributes, Authorizer, User, Verdict


def attributes(user: User, info: Info) -> Attributes:
    if not info.is_resource:
        return Attributes(user, info.verb, path=info.path)
    return Attributes(
        user,
        info.verb,
        path=info.path,
        group=info.group,
        version=info.version,
        resource=info.resource,
        subresource=info.subresource,
        namespace=info.namespace,
        name=info.name,
        field_selector=info.first("fieldSelector") if info.query else "",
        label_selector=info.first("labelSelector") if info.query else "",
    )


def check(authorizer: Authorizer, user: User, info: Info) -> None:
    """Raises Forbidden."""
    check_asked(authorizer, attributes(user, info))


def check_asked(authorizer: Authorizer, asked: Attributes) -> None:
    """Raises Forbidden."""
    decision = authorizer.authorize(asked)
    if decision.verdict is Verdict.ALLOW:
        return
    if decision.problem:
        raise errors.InternalError(f"Internal Server Error: {field.quote(asked.path)}: {decision.problem}")
    message = forbidden_message(asked, decision.reason)
    if not asked.is_resource:
        raise errors.forbidden("", "", message)
    raise errors.forbidden(asked.resource, asked.name, message, asked.group)


def forbidden_message(asked: Attributes, reason: str) -> str:
    user = field.quote(asked.user.name)
    if not asked.is_resource:
        text = f"User {user} cannot {asked.verb} path {field.quote(asked.path)}"
    else:
        resource = asked.resource + (f"/{asked.subresource}" if asked.subresource else "")
        where = (
            f"in the namespace {field.quote(asked.namespace)}" if asked.namespace else "at the cluster scope"
        )
        text = (
            f"User {user} cannot {asked.verb} resource {field.quote(resource)} in API group "
            f"{field.quote(asked.group)} {where}"
        )
    return f"{text}: {reason}" if reason else text

"""Who sends a request: credentials from its headers and its connection, and impersonation.

Upstream: apiserver/pkg/endpoints/filters/{authentication,impersonation}.go.
"""

from __future__ import annotations

from urllib.parse import unquote

from timonel.machinery import errors
from timonel.machinery.field import quote
from timonel.server.chain.authorization import forbidden_message
from timonel.server.exchange import Request
from timonel.server.request import (
    ANONYMOUS,
    Attributes,
    Authenticator,
    Authorizer,
    Credentials,
    User,
    Verdict,
)

WEBSOCKET_TOKEN = "base64url.bearer.authorization.k8s.io."
IMPERSONATE = b"impersonate-"
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
SERVICE_ACCOUNT = "system:serviceaccount:"


def credentials(request: Request, path: str = "") -> Credentials:
    token = ""
    for header in request.all_headers(b"sec-websocket-protocol"):
        for protocol in header.split(","):
            if protocol.strip().startswith(WEBSOCKET_TOKEN):
                token = protocol.strip()
    return Credentials(
        request.header(b"authorization"), request.certificate, token, headers=request.headers, path=path
    )


def user_now(authenticator: Authenticator, given: Credentials) -> User | None:
    """The user, if that can be said without waiting; None if not. Raises Unauthorized."""
    attempt = authenticator.authenticate(given)
    if not hasattr(attempt, "send"):
        return None
    try:
        attempt.send(None)
    except StopIteration as answer:
        return answer.value or ANONYMOUS
    attempt.close()
    return None


async def user_of(authenticator: Authenticator, given: Credentials) -> User:
    return await authenticator.authenticate(given) or ANONYMOUS


def impersonates(request: Request) -> bool:
    return any(name.startswith(IMPERSONATE) for name, _ in request.headers)


def impersonated(request: Request, user: User, authorizer: Authorizer) -> User:
    """The user that the Impersonate-* headers name. Raises Forbidden, BadRequest."""
    name = request.header(b"impersonate-user")
    groups = request.all_headers(b"impersonate-group")
    uid = request.header(b"impersonate-uid")
    extra: dict[str, tuple[str, ...]] = {}
    for header, raw in request.headers:
        if header.startswith(b"impersonate-extra-"):
            key = unquote(header[len(b"impersonate-extra-") :].decode("latin-1"))
            extra[key] = (*extra.get(key, ()), raw.decode(errors="replace"))
    if not name:
        raise errors.BadRequest(f"requested {_in_go(groups, uid, extra)} without impersonating a user name")
    if name.startswith(SERVICE_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        _ask(authorizer, user, "serviceaccounts", name=account, namespace=namespace)
        if not groups:
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    else:
        _ask(authorizer, user, "users", name=name)
    for group in request.all_headers(b"impersonate-group"):
        _ask(authorizer, user, "groups", name=group)
    for key, values in extra.items():
        for value in values:
            _ask(authorizer, user, "userextras", group="authentication.k8s.io", subresource=key, name=value)
    if uid:
        _ask(authorizer, user, "uids", group="authentication.k8s.io", name=uid)
    if name == ANONYMOUS.name:
        groups = [*groups, UNAUTHENTICATED] if UNAUTHENTICATED not in groups else groups
    elif AUTHENTICATED not in groups:
        groups = [*groups, AUTHENTICATED]
    return User(name, tuple(groups), uid, extra)


def _in_go(groups: list[str], uid: str, extra: dict[str, tuple[str, ...]]) -> str:
    """What was asked for as upstream prints it."""
    listed = f"[]string{{{', '.join(map(quote, groups))}}}" if groups else "[]string(nil)"
    pairs = ", ".join(f"{quote(k)}:[]string{{{', '.join(map(quote, v))}}}" for k, v in sorted(extra.items()))
    extras = f"map[string][]string{{{pairs}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{quote(uid)}, Groups:{listed}, Extra:{extras}}}'


def _ask(
    authorizer: Authorizer,
    user: User,
    resource: str,
    *,
    name: str,
    namespace: str = "",
    group: str = "",
    subresource: str = "",
) -> None:
    attributes = Attributes(
        user,
        "impersonate",
        group=group,
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )
    decision = authorizer.authorize(attributes)
    if decision.verdict is not Verdict.ALLOW:
        raise errors.forbidden(resource, name, forbidden_message(attributes, decision.reason), group)

"""Who may talk to the agent: the API server, and whoever it vouches for when it is asked.

The API server shows a certificate and is let in by its name, so that logs can be read while it has other troubles. For
anybody else it is asked: who has this token (TokenReview), may he do this with this node (SubjectAccessReview). What it
says is remembered for as long as upstream's kubelet does. Nobody is anonymous.

Upstream: pkg/kubelet/server/auth.go, cmd/kubelet/app/auth.go.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from timonel.aio.clock import Clock
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import StatusError
from timonel.node.httpserver import Handler, HandOver, Request, Response
from timonel.records import dataclass

API_SERVER = "kube-apiserver-kubelet-client"
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", False)
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", False)
KNOWN_FOR = 120.0  # seconds that an answer to a TokenReview is good
ALLOWED_FOR, DENIED_FOR = 300.0, 30.0
MOST = 1024  # answers that are remembered of each kind

_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# what is asked for by where a path begins; who may not is asked for the second one
_SUBRESOURCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/stats", ("stats",)),
    ("/metrics", ("metrics",)),
    ("/logs", ("log",)),
    ("/checkpoint", ("checkpoint",)),
    ("/statusz", ("statusz", "proxy")),
    ("/flagz", ("flagz", "proxy")),
    ("/healthz", ("healthz", "proxy")),
    ("/configz", ("configz", "proxy")),
    ("/pods", ("pods", "proxy")),
    ("/runningpods", ("pods", "proxy")),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is let in without a question, by the subject of his certificate."""

    clients: frozenset[str] = frozenset({API_SERVER})
    groups: frozenset[str] = frozenset({"system:masters"})


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Unsure(Exception):
    """The API server could not be asked."""


def verb_of(method: str) -> str:
    """Empty for what is no verb: then only a rule for all verbs allows it."""
    return _VERBS.get(method, "")


def subresources_of(path: str) -> tuple[str, ...]:
    for start, found in _SUBRESOURCES:
        if path == start or path.startswith((f"{start}/", f"{start}?")):
            return found
    return ("proxy",)


K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Answers that are good for a while; `lasts` says how long, in seconds. Old ones make room for new ones."""

    def __init__(self, clock: Clock, lasts: Callable[[V], float]) -> None:
        self._clock, self._lasts = clock, lasts
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() < kept[1]:
            return kept[0]
        found = await ask()
        self._kept[key] = found, self._clock.monotonic() + self._lasts(found)
        self._kept.move_to_end(key)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return found


class Reviews:
    """The questions to the API server about who wants something of `node`."""

    def __init__(self, transport: Transport, clock: Clock, node: str) -> None:
        self._transport, self._node = transport, node
        self._users = Remembered[str, User | None](clock, lambda user: KNOWN_FOR)
        self._decisions = Remembered[tuple[User, str, str], bool](
            clock, lambda is_allowed: ALLOWED_FOR if is_allowed else DENIED_FOR
        )

    async def user(self, token: str) -> User | None:
        """Who has it; None: nobody. Raises Unsure."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        return await self._users.get(digest, lambda: self._ask_who(token))

    async def allows(self, user: User, verb: str, subresource: str) -> bool:
        """Raises Unsure."""
        key = (user, verb, subresource)
        return await self._decisions.get(key, lambda: self._ask_whether(*key))

    async def _ask_who(self, token: str) -> User | None:
        status = await self._reviewed(TOKEN_REVIEWS, "TokenReview", {"token": token})
        if not status.get("authenticated"):
            return None
        user = status.get("user") or {}
        extra = tuple(sorted((key, tuple(values)) for key, values in (user.get("extra") or {}).items()))
        return User(user.get("username", ""), user.get("uid", ""), tuple(user.get("groups") or ()), extra)

    async def _ask_whether(self, user: User, verb: str, subresource: str) -> bool:
        spec = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            "resourceAttributes": {
                "verb": verb,
                "version": "v1",
                "resource": "nodes",
                "subresource": subresource,
                "name": self._node,
            },
        }
        status = await self._reviewed(ACCESS_REVIEWS, "SubjectAccessReview", spec)
        return bool(status.get("allowed"))

    async def _reviewed(self, resource: Resource, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        review = {"apiVersion": f"{resource.group}/{resource.version}", "kind": kind, "spec": spec}
        try:
            answer = await self._transport.create(resource, {"metadata": {}, **review})
        except (StatusError, Unreachable) as e:
            raise Unsure(str(e)) from e
        found: Mapping[str, Any] = answer.get("status") or {}
        return found


class Guard:
    """Lets those through who may, and tells the others why not."""

    def __init__(self, inner: Handler, rules: Rules, reviews: Reviews) -> None:
        self._inner, self._rules, self._reviews = inner, rules, reviews

    async def handle(self, request: Request) -> Response | HandOver:
        refusal = await self._refusal(request)
        return refusal if refusal is not None else await self._inner.handle(request)

    async def _refusal(self, request: Request) -> Response | None:
        peer, rules = request.peer, self._rules
        if peer.name in rules.clients or rules.groups.intersection(peer.groups):
            return None
        try:
            user = await self._user(request)
        except Unsure:
            user = None
        if user is None:
            return Response(401, b"Unauthorized")
        verb, subresources = verb_of(request.method), subresources_of(request.path)
        asked = f"(user={user.name}, verb={verb}, resource=nodes, subresource(s)={_shown(subresources)})"
        try:
            for subresource in subresources:
                if await self._reviews.allows(user, verb, subresource):
                    return None
        except Unsure:
            return Response(500, f"Authorization error {asked}".encode())
        return Response(403, f"Forbidden {asked}".encode())

    async def _user(self, request: Request) -> User | None:
        if request.peer.name:
            return User(request.peer.name, groups=(*request.peer.groups, "system:authenticated"))
        scheme, _, token = request.header("authorization").partition(" ")
        token = token.strip()
        return await self._reviews.user(token) if scheme.lower() == "bearer" and token else None


def _shown(subresources: Sequence[str]) -> str:
    """As Go prints a list."""
    return f"[{' '.join(subresources)}]"

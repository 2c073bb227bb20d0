"""The values that pass between the parts of the API server: who asks, for what, and what a plugin may do about it.

`chain/` turns HTTP into a `Call` (parse → authenticate → authorize), `verbs/` carry it out through `registry`, and
`admission/` plugins look at it on the way to the store. `local` makes Calls directly, without HTTP.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """Upstream: apiserver/pkg/authentication/user/user.go."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the authorizer is asked about. Upstream: apiserver/pkg/authorization/authorizer/interfaces.go.

    For non-resource requests `path` is set, `verb` is the lower-case method and `resource` is empty.
    """

    user: User
    verb: str
    path: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)


class Verdict(enum.Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reason: str = ""
    problem: str = ""  # why somebody who should have an opinion has none


class Undecided(Exception):
    """An authorizer must ask somebody else first: await `ask`, then put the question again."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        super().__init__("the authorizer must ask somebody else")
        self.ask = ask


class Authorizer(Protocol):
    def authorize(self, attributes: Attributes) -> Decision:
        """Decides from memory; never waits. Raises Undecided."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says about who sends it, before anyone believes it."""

    authorization: str = ""  # the Authorization header
    certificate: bytes | None = (
        None  # the client certificate in DER form, already verified by TLS against our CA
    )
    websocket_token: str = ""  # base64url.bearer.authorization.k8s.io.* subprotocol
    headers: Sequence[tuple[bytes, bytes]] = ()  # all of them, for what a proxy in front of the server says
    path: str = ""  # where the request goes; empty where that is not known yet


class Authenticator(Protocol):
    async def authenticate(self, credentials: Credentials) -> User | None:
        """None: no credentials of a kind known here (the request goes on as anonymous).

        Raises errors.Unauthorized where there are some and they are wrong.
        """

    def settled(self, credentials: Credentials) -> Callable[[], User | None] | None:
        """How to ask for the user of these credentials again, who has been authenticated: as long as that does not
        give None, it is what `authenticate` would find. None: each request is looked at anew."""


class Operation(enum.Enum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(slots=True)
class AdmissionCall:
    """One write on its way to the store. Mutating plugins change `obj` in place."""

    operation: Operation
    resource: ResourceType
    subresource: str
    namespace: str
    name: str
    user: User
    obj: Object | None  # None for DELETE
    old: Object | None  # None for CREATE
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    # what plugins reserved for this write (addresses, ports, quota): called, last first, when the write does not happen
    undo: list[Callable[[], None]] = field(default_factory=list)
    served: ResourceType | None = None  # the version that the client speaks; None: `resource` itself
    annotations: dict[str, str] = field(default_factory=dict)  # for the audit log
    # A plugin that wants the mutating ones to run once more sets `again`; in the second round `round` is 1. Both
    # rounds share what plugins remember in `memory`, by their name.
    again: bool = False
    round: int = 0
    memory: dict[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """What plugins and authorizers may read: the watch cache, decoded. Objects are shared: do not mutate."""

    def get(self, resource: str, namespace: str, name: str) -> Object | None: ...
    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]: ...
    def on_change(self, resource: str, callback: Callable[[Object | None, Object | None], None]) -> None:
        """Call back with (old, new) for every object now and on every change; from the event loop."""


class AdmissionPlugin(Protocol):
    """One built-in admission plugin; upstream's names. Either hook may raise errors.Forbidden and the like.

    `handles` is asked once per (resource type, subresource, operation) and cached, so calls that a plugin does not care
    for cost nothing. A plugin whose `stores` is true does a part of storing: `admit` runs once, after all others.
    """

    name: str

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool: ...
    async def admit(self, call: AdmissionCall) -> None:
        """Mutate."""

    async def validate(self, call: AdmissionCall) -> None:
        """Refuse; must not mutate."""


class OnlyMutates:
    """Of a plugin that refuses, if at all, while it mutates: `validate` is never called."""

    async def validate(self, call: AdmissionCall) -> None:
        """Nothing."""


class OnlyValidates:
    """Of a plugin that mutates nothing: `admit` is never called."""

    async def admit(self, call: AdmissionCall) -> None:
        """Nothing."""


class Objects(Protocol):
    """Reads and writes of one server by its own hands (binding, eviction, quota): no authorization, no admission.

    `resource` is the qualified plural (`pods`, `deployments.apps`). Objects that come out may be changed freely.
    """

    async def get(self, resource: str, namespace: str, name: str) -> Object:
        """From the store, not from a cache. Raises errors.NotFound."""

    async def create(
        self, resource: str, obj: Object, *, namespace: str = "", manager: str = "kube-apiserver"
    ) -> Object: ...

    async def change(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Callable[[Object], None],
        *,
        dry_run: bool = False,
        manager: str = "",
        subresource: str = "",
    ) -> Object:
        """Read, `change` in place, write if it differs; again when somebody else was faster. The result is shared.

        `change` may be called several times and may raise. Skips the hooks of the resource type. Managed fields are
        kept as they are, unless a `manager` is named.
        """

    async def delete(
        self, resource: str, namespace: str, name: str, *, options: Object, user: User, dry_run: bool = False
    ) -> Object:
        """As the delete verb does it (grace period, finalizers, preconditions of `options`)."""


@dataclass(slots=True)
class ActionCall:
    """A POST that acts and answers, but stores nothing of its own: reviews, tokens, bindings, evictions.

    `obj` has been decoded, pruned and defaulted as its own kind (TokenRequest, Binding, SubjectAccessReview…).
    """

    user: User
    namespace: str
    name: str  # of the object that a subresource belongs to
    obj: Object
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    audiences: tuple[str, ...] = ()


class ActionHandler(Protocol):
    """Handles POST; the answer goes out with status 201."""

    async def act(self, call: ActionCall) -> Object: ...


@dataclass(frozen=True, slots=True)
class PartialUpdate:
    """A subresource that reads as its object and writes a part of it: as status, with hooks of its own.

    `prepare` (new, old) resets in place what this subresource may not write; `validate` (new, old) yields causes.
    """

    resource: str  # qualified plural
    name: str
    prepare: Callable[[Object, Object], None]
    validate: Callable[[Object, Object], Any]
    verbs: tuple[str, ...] = ("get", "patch", "update")
    warnings: Callable[[Object, Object], Any] = lambda new, old: ()


class Duplex(Protocol):
    """The raw bytes of a connection after its HTTP head."""

    async def read(self) -> bytes:
        """Empty at the end."""

    async def write(self, data: bytes) -> None: ...
    async def write_eof(self) -> None:
        """No more will be written in this direction, where the transport can say so (TLS cannot)."""


@dataclass(slots=True)
class ConnectCall:
    """A request that is answered with bytes: logs, or an upgrade that is relayed (exec, attach, proxy…)."""

    user: User
    method: str
    namespace: str
    name: str
    subresource: str
    path: str  # what follows the subresource, with its slash; "" when nothing does
    query: str  # raw
    headers: Sequence[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | AsyncIterator[bytes] = b""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Send this head, then hand the connection to `relay`; close it when `relay` returns."""

    status: int
    headers: Sequence[tuple[str, str]]
    relay: Callable[[Duplex], Awaitable[None]]


class ConnectHandler(Protocol):
    async def connect(self, call: ConnectCall) -> Answer | Upgraded: ...

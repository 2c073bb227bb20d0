"""The values that pass between the parts of the API server: who asks, for what, and what a plugin may do about it.

`chain/` turns HTTP into a `Call` (parse → authenticate → authorize), `verbs/` carry it out through `registry`, and
`admission/` plugins look at it on the way to the store. `local` makes Calls directly, without HTTP.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from timonel.apis.resource import ResourceType
from timonel.objects.meta import Object


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


class Authorizer(Protocol):
    def authorize(self, attributes: Attributes) -> Decision:
        """Decides from memory; never waits."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says about who sends it, before anyone believes it."""

    authorization: str = ""  # the Authorization header
    certificate: bytes | None = (
        None  # the client certificate in DER form, already verified by TLS against our CA
    )
    websocket_token: str = ""  # base64url.bearer.authorization.k8s.io.* subprotocol


class Authenticator(Protocol):
    async def authenticate(self, credentials: Credentials) -> User | None:
        """None: no credentials of a kind known here (the request goes on as anonymous).

        Raises errors.Unauthorized where there are some and they are wrong.
        """


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


class Reader(Protocol):
    """What plugins and authorizers may read: the watch cache, decoded. Objects are shared: do not mutate."""

    def get(self, resource: str, namespace: str, name: str) -> Object | None: ...
    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]: ...
    def on_change(self, resource: str, callback: Callable[[Object | None, Object | None], None]) -> None:
        """Call back with (old, new) for every object now and on every change; from the event loop."""


class AdmissionPlugin(Protocol):
    """One built-in admission plugin; upstream's names. Either hook may raise errors.Forbidden and the like.

    `handles` is asked once per (resource type, subresource, operation) and cached, so calls that a plugin does not care
    for cost nothing.
    """

    name: str

    def handles(self, resource: ResourceType, subresource: str, operation: Operation) -> bool: ...
    async def admit(self, call: AdmissionCall) -> None:
        """Mutate."""

    async def validate(self, call: AdmissionCall) -> None:
        """Refuse; must not mutate."""

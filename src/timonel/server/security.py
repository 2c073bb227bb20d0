"""Everything about security of one server, put together: what `app.ApiServer` is given and what it is extended with.

The authenticator and the authorizer exist before the server does, but decide by what it holds: `attach` closes the
circle. Until then nobody is let in.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from timonel.aio.clock import Clock
from timonel.apis.resource import ResourceType
from timonel.objects.meta import Key
from timonel.records import dataclass
from timonel.server.actions import ActionType
from timonel.server.addresses import AddressClaims
from timonel.server.admission import order
from timonel.server.admission.configuration import Configuration
from timonel.server.admission.quota import ResourceQuota
from timonel.server.admission.switches import Switches
from timonel.server.allocators import ServiceAllocators
from timonel.server.auth import jwt
from timonel.server.auth.access import Access, Reread, Trust
from timonel.server.auth.authn import RequestAuthenticator, TokenUnion, unauthorized
from timonel.server.auth.legacy import LegacyUse
from timonel.server.auth.rbac import RbacAuthorizer
from timonel.server.auth.settings import AuthSettings
from timonel.server.auth.tokens import Tokens
from timonel.server.auth.union import UnionAuthorizer
from timonel.server.claims import Claims
from timonel.server.metrics.text import COUNTER, Family, of
from timonel.server.outbound import Outbound
from timonel.server.request import (
    ActionHandler,
    AdmissionPlugin,
    Attributes,
    ConnectHandler,
    Credentials,
    Decision,
    Objects,
    PartialUpdate,
    Reader,
    User,
    Verdict,
)
from timonel.server.subresources import partials, streams
from timonel.server.subresources.binding import Binding
from timonel.server.subresources.eviction import Eviction
from timonel.server.subresources.nodes import Dial
from timonel.server.subresources.reviews import (
    SelfSubjectAccessReview,
    SelfSubjectReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
    TokenReview,
)
from timonel.server.subresources.tokenrequest import TokenRequest

ISSUER = "https://kubernetes.default.svc"
_AUTHN, _AUTHZ = "authentication.k8s.io", "authorization.k8s.io"

# read by plugins and handlers, beside what they follow: a server holds these from its start
NEEDED = (
    "csidrivers.storage.k8s.io",
    "endpointslices.discovery.k8s.io",
    "ingressclasses.networking.k8s.io",
    "limitranges",
    "namespaces",
    "nodes",
    "persistentvolumes",
    "poddisruptionbudgets.policy",
    "pods",
    "priorityclasses.scheduling.k8s.io",
    "persistentvolumeclaims",
    "resourcequotas",
    "resourceslices.resource.k8s.io",
    "runtimeclasses.node.k8s.io",
    "secrets",
    "serviceaccounts",
    "services",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
)


@dataclass(frozen=True, slots=True)
class Settings:
    keys: jwt.Keys  # of service account tokens
    issuer: str = ISSUER
    audiences: tuple[str, ...] = ()  # empty: the issuer
    other_issuers: tuple[str, ...] = ()  # whose tokens are accepted, too
    jwks_uri: str = ""  # empty: of this server
    longest_token: int = 0  # seconds; 0: as long as is asked for
    extend_tokens: bool = True
    static_tokens: Mapping[str, User] = field(default_factory=dict)
    service_ranges: tuple[str, ...] = ("10.96.0.0/16",)
    node_tls: ssl.SSLContext | None = None  # to node agents: our client certificate, their CA
    pod_tls: ssl.SSLContext | None = None  # to pods and services that are proxied by https
    nearby_nodes: Mapping[str, Dial] = field(default_factory=dict)  # node agents in this process, by node
    auth: AuthSettings = field(default_factory=AuthSettings)
    reread: Reread | None = None  # where `auth` comes from files
    trust: Trust | None = None  # how TLS learns of other client authorities
    identify: Callable[[ssl.SSLContext], object] | None = None  # to servers behind this one: our certificate
    admission: Switches = field(default_factory=Switches)
    admission_configuration: Configuration = field(default_factory=Configuration)

    def with_own_tokens(self, auth: AuthSettings) -> AuthSettings:
        return replace(auth, static_tokens={**self.static_tokens, **auth.static_tokens})


@dataclass(frozen=True, slots=True)
class Attached:
    """What a server is extended with."""

    admission: Sequence[AdmissionPlugin]
    actions: Sequence[ActionType]
    partials: Sequence[PartialUpdate]
    connects: Mapping[tuple[str, str], ConnectHandler]
    tokens: Tokens
    access: Access
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()


class _Authenticator:
    def __init__(self) -> None:
        self.inner: RequestAuthenticator | None = None

    def authenticate(self, credentials: Credentials) -> Coroutine[Any, Any, User | None]:
        if self.inner is None:
            raise unauthorized()
        return self.inner.authenticate(credentials)

    def settled(self, credentials: Credentials) -> Callable[[], User | None] | None:
        return None if self.inner is None else self.inner.settled(credentials)


class _Authorizer:
    def __init__(self) -> None:
        self.inner: UnionAuthorizer | None = None
        self.asked = self.refused = 0  # so far, for `/metrics`

    def authorize(self, attributes: Attributes) -> Decision:
        if self.inner is None:
            return Decision(Verdict.DENY, "the server is not ready to decide")
        decision = self.inner.authorize(attributes)
        self.asked += 1
        if decision.verdict is not Verdict.ALLOW:
            self.refused += 1
        return decision

    def families(self) -> Sequence[Family]:
        results = {"allowed": self.asked - self.refused, "denied": self.refused}
        text = (
            "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', "
        )
        return (
            Family(
                "authorization_attempts_total",
                COUNTER,
                f"{text}'no-opinion' or 'error'.",
                of(results, "result"),
            ),
        )

    @property
    def waits(self) -> bool:
        return self.inner is not None and self.inner.waits


class Security:
    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._authenticator = _Authenticator()
        self._authorizer = _Authorizer()

    @property
    def authenticator(self) -> _Authenticator:
        return self._authenticator

    @property
    def authorizer(self) -> _Authorizer:
        return self._authorizer

    def attach(
        self,
        *,
        reader: Reader,
        objects: Objects,
        pod: ResourceType,
        outbound: Outbound,
        claims: Callable[[str, Callable[[int, Key], bool]], Claims] | None = None,
        dynamic: Sequence[AdmissionPlugin] = (),
    ) -> Attached:
        """`pod` is the resource type of pods, `dynamic` the plugins of policies and webhooks. Follows the
        cluster from now on through `reader`."""
        settings, clock = self.settings, self._clock
        legacy = LegacyUse(reader, objects, clock)
        tokens = Tokens(
            keys=settings.keys,
            issuer=settings.issuer,
            audiences=settings.audiences or (settings.issuer,),
            reader=reader,
            clock=clock,
            other_issuers=settings.other_issuers,
            extend=settings.extend_tokens,
            legacy_used=legacy.note,
        )
        rbac = RbacAuthorizer(reader)
        access = Access(
            settings.with_own_tokens(settings.auth),
            tokens=tokens,
            rbac=rbac,
            reader=reader,
            outbound=outbound,
            clock=clock,
            trust=settings.trust,
        )
        union = access.authorizer
        allocators = ServiceAllocators(address_ranges=settings.service_ranges, claims=claims)
        addresses = AddressClaims(
            objects, reader, clock, allocators.in_use, allocators.in_range, shared=claims is not None
        )
        allocators.follow(reader, addresses)
        self._authenticator.inner = access.authenticator
        self._authorizer.inner = union
        plugins = order.built_in(
            reader=reader,
            objects=objects,
            clock=clock,
            authorizer=union,
            rbac=rbac,
            allocators=allocators,
            dynamic=dynamic,
            configuration=settings.admission_configuration,
        )
        return Attached(
            admission=settings.admission.chosen(plugins),
            actions=_actions(
                tokens, access.tokens, settings.longest_token, union, rbac, reader, objects, clock
            ),
            partials=partials.built_in(pod=pod, clock=clock),
            connects=streams.built_in(reader, settings.node_tls, settings.pod_tls, settings.nearby_nodes),
            tokens=tokens,
            background=(
                *(plugin.run for plugin in plugins if isinstance(plugin, ResourceQuota)),
                legacy.run,
                *allocators.background(),
                allocators.port_repair(objects, reader, clock).run,
                *_followers(access, settings),
            ),
            access=access,
        )


def _followers(access: Access, settings: Settings) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
    reread = settings.reread
    if reread is None:
        return ()

    def changed() -> AuthSettings | None:
        found = reread()
        return None if found is None else settings.with_own_tokens(found)

    return (lambda: access.follow(changed),)


def _actions(
    tokens: Tokens,
    union: TokenUnion,
    longest: int,
    authorizer: UnionAuthorizer,
    rbac: RbacAuthorizer,
    reader: Reader,
    objects: Objects,
    clock: Clock,
) -> tuple[ActionType, ...]:
    binding = Binding(objects, reader, clock)

    def review(group: str, plural: str, kind: str, handler: ActionHandler) -> ActionType:
        return ActionType(f"{plural}.{group}", "", (group, "v1", kind), handler)

    return (
        ActionType("pods", "binding", ("", "v1", "Binding"), binding),
        ActionType("bindings", "", ("", "v1", "Binding"), binding),
        ActionType(
            "pods",
            "eviction",
            ("policy", "v1", "Eviction"),
            Eviction(objects, reader, clock),
            also=("policy/v1beta1",),
        ),
        ActionType(
            "serviceaccounts",
            "token",
            (_AUTHN, "v1", "TokenRequest"),
            TokenRequest(tokens, objects, clock, longest),
        ),
        review(_AUTHN, "tokenreviews", "TokenReview", TokenReview(union)),
        review(_AUTHN, "selfsubjectreviews", "SelfSubjectReview", SelfSubjectReview(clock)),
        review(_AUTHZ, "subjectaccessreviews", "SubjectAccessReview", SubjectAccessReview(authorizer)),
        review(
            _AUTHZ,
            "localsubjectaccessreviews",
            "LocalSubjectAccessReview",
            SubjectAccessReview(authorizer, local=True),
        ),
        review(
            _AUTHZ, "selfsubjectaccessreviews", "SelfSubjectAccessReview", SelfSubjectAccessReview(authorizer)
        ),
        review(
            _AUTHZ,
            "selfsubjectrulesreviews",
            "SelfSubjectRulesReview",
            SelfSubjectRulesReview(rbac, authorizer),
        ),
    )

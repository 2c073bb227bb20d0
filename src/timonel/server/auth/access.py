"""The authenticator and the authorizer of a server, made from `settings.AuthSettings`, and made anew when those change.

What rests on files follows them: every `LOOK` seconds their state is compared, where there are any. Settings that
cannot be used any more are logged, and the last good ones stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from timonel.aio.clock import Clock
from timonel.server.auth import oidc
from timonel.server.auth.authn import Anonymous, RequestAuthenticator, TokenUnion
from timonel.server.auth.certificates import Bundle, ClientCertificates
from timonel.server.auth.frontproxy import FrontProxy
from timonel.server.auth.node import NodeAuthorizer
from timonel.server.auth.rbac import RbacAuthorizer
from timonel.server.auth.settings import Authorizer, AuthSettings, ConfigError
from timonel.server.auth.tokens import Tokens
from timonel.server.auth.union import Always, PrivilegedGroup, UnionAuthorizer
from timonel.server.auth.verified import TokenAuthenticator
from timonel.server.auth.webhook_authorizer import WebhookAuthorizer
from timonel.server.auth.webhook_tokens import WebhookTokens
from timonel.server.outbound import Outbound
from timonel.server.request import Authorizer as AuthorizerProtocol
from timonel.server.request import Reader, Verdict

logger = logging.getLogger(__name__)

LOOK = 60.0  # as upstream's dynamic file controllers

Reread = Callable[[], AuthSettings | None]  # None: nothing has changed
Trust = Callable[[str], None]  # told the PEM of all authorities that TLS is to verify clients against


class Access:
    def __init__(
        self,
        settings: AuthSettings,
        *,
        tokens: Tokens,
        rbac: RbacAuthorizer,
        reader: Reader,
        outbound: Outbound,
        clock: Clock,
        trust: Trust | None = None,
    ) -> None:
        self._tokens, self._rbac, self._outbound, self._clock = tokens, rbac, outbound, clock
        self._trust = trust
        self._node = NodeAuthorizer(reader)
        self._clients, self._proxies = Bundle(), Bundle()
        self._certificates = ClientCertificates(clock, self._clients)
        self._front_proxy = FrontProxy(clock, self._proxies)
        self._anonymous = Anonymous()
        self._settings: AuthSettings | None = None
        self.changed: Callable[[], None] = lambda: None  # called when other settings apply
        self.tokens = TokenUnion((tokens,))
        self.authenticator = RequestAuthenticator(
            tokens=self.tokens,
            certificates=self._certificates,
            front_proxy=self._front_proxy,
            anonymous=lambda: self._anonymous,
            still=tokens.still,
        )
        self.authorizer = UnionAuthorizer((PrivilegedGroup(), self._node, rbac))
        self.apply(settings)

    def apply(self, settings: AuthSettings) -> None:
        """Raises ValueError (ConfigError is one) and, where TLS takes no certificate, OSError."""
        before, self._settings = self._settings, settings
        try:
            self._apply(settings, before)
        except (ValueError, OSError):
            self._settings = before
            raise

    @property
    def settings(self) -> AuthSettings:
        """Those that apply."""
        assert self._settings is not None
        return self._settings

    async def follow(self, reread: Reread) -> None:
        while True:
            await self._clock.sleep(LOOK)
            try:
                found = reread()
                if found is not None:
                    self.apply(found)
                    self.changed()
                    logger.info("Read the configuration of authentication and authorization again")
            except (ValueError, OSError) as e:
                logger.error("Could not use the changed configuration, kept the last one: %s", e)

    def _apply(self, settings: AuthSettings, before: AuthSettings | None) -> None:
        if settings.front_proxy_ca and not settings.client_ca:
            raise ConfigError(
                "a front proxy is believed only where the authority of clients is another known one"
            )
        if before is None or (settings.jwt, settings.token_webhook) != (before.jwt, before.token_webhook):
            self.tokens.replace((self._tokens, *self._others(settings)))
        if before is None or settings.authorizers != before.authorizers:
            self.authorizer.replace((PrivilegedGroup(), *map(self._authorizer, settings.authorizers)))
        cas = (settings.client_ca, settings.front_proxy_ca)
        if cas != (self._clients.pem, self._proxies.pem):
            Bundle(settings.client_ca), Bundle(settings.front_proxy_ca)  # both can be read
            if self._trust is not None:
                self._trust("\n".join(cas))
            self._clients.replace(settings.client_ca)
            self._proxies.replace(settings.front_proxy_ca)
            self._certificates.forget()
        self._front_proxy.use(settings.header_names)
        self._anonymous = settings.anonymous
        self._tokens.replace_static(settings.static_tokens)
        self._tokens.bootstrap_tokens = settings.bootstrap_tokens

    def _others(self, settings: AuthSettings) -> Sequence[TokenAuthenticator]:
        audiences, outbound, clock = self._tokens.audiences, self._outbound, self._clock
        found: list[TokenAuthenticator] = [
            oidc.JwtAuthenticator(what, outbound=outbound, clock=clock, api_audiences=audiences)
            for what in settings.jwt
        ]
        if settings.token_webhook is not None:
            found.append(WebhookTokens(settings.token_webhook, audiences, outbound, clock))
        return found

    def _authorizer(self, what: Authorizer) -> AuthorizerProtocol:
        match what.type:
            case "Node":
                return self._node
            case "RBAC":
                return self._rbac
            case "AlwaysAllow":
                return Always(Verdict.ALLOW)
            case "AlwaysDeny":
                return Always(Verdict.DENY)
            case "Webhook" if what.webhook is not None:
                return WebhookAuthorizer(what.webhook, self._outbound, self._clock)
        raise ConfigError(f"no authorizer is of type {what.type}")

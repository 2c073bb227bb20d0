"""Who is let in and who decides, as a value: read from flags and files by `flags` and `structured`, used by `security`.

It may be read again while the server runs: `security.Security` then changes what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from timonel.records import dataclass
from timonel.server.auth import jwtclaims, webhook_authorizer, webhook_tokens
from timonel.server.auth.authn import Anonymous
from timonel.server.auth.frontproxy import HeaderNames
from timonel.server.request import User


@dataclass(frozen=True, slots=True)
class Authorizer:
    """One of Node, RBAC, AlwaysAllow, AlwaysDeny, or Webhook with its settings."""

    type: str
    webhook: webhook_authorizer.Settings | None = None


@dataclass(frozen=True, slots=True)
class AuthSettings:
    anonymous: Anonymous = field(default_factory=Anonymous)
    client_ca: str = ""  # PEM; empty: whatever TLS verified is a client's certificate
    front_proxy_ca: str = ""  # PEM; empty: no proxy is believed
    header_names: HeaderNames = field(default_factory=HeaderNames)
    static_tokens: Mapping[str, User] = field(default_factory=dict)
    bootstrap_tokens: bool = True
    jwt: tuple[jwtclaims.Authenticator, ...] = ()
    token_webhook: webhook_tokens.Settings | None = None
    authorizers: tuple[Authorizer, ...] = (Authorizer("Node"), Authorizer("RBAC"))


class ConfigError(ValueError):
    """Flags or files that cannot be used; the message says which and why."""

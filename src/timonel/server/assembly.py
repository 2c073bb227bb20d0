"""An API server from the settings of a cluster, as `distro` has them. `compose` puts the parts together."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from timonel.aio.clock import Clock
from timonel.server import compose, security
from timonel.server.app import ApiServer, Config, Scheme
from timonel.server.auth import jwt
from timonel.server.request import User
from timonel.store.base import Store


@dataclass(frozen=True, slots=True)
class Settings:
    """`advertise_address` is where pods reach the server; without `signing_key_pem` tokens end with the process."""

    server: Config = field(default_factory=Config)
    service_cidr: str = "10.96.0.0/16"
    signing_key_pem: bytes = b""
    issuer: str = security.ISSUER
    audiences: tuple[str, ...] = ()
    tokens: Mapping[str, User] = field(default_factory=dict)
    advertise_address: str = "127.0.0.1"
    ca_pem: str = ""


def assemble(
    settings: Settings,
    *,
    store: Store,
    scheme: Scheme,
    clock: Clock,
    tls: ssl.SSLContext | None,
    node_tls: ssl.SSLContext | None = None,
) -> ApiServer:
    key = jwt.load_private_key(settings.signing_key_pem) if settings.signing_key_pem else jwt.new_key()
    guard = security.Settings(
        keys=jwt.Keys(key),
        issuer=settings.issuer,
        audiences=settings.audiences,
        static_tokens=settings.tokens,
        service_ranges=(settings.service_cidr,),
        node_tls=node_tls,
    )
    whole = compose.Settings(
        security=guard,
        config=settings.server,
        advertised=settings.advertise_address,
        client_ca=settings.ca_pem,
    )
    return compose.compose(whole, store=store, scheme=scheme, clock=clock, tls=tls)

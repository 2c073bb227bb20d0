"""The issuer of service-account tokens as an OpenID provider: its discovery document and its keys.

Upstream: pkg/routes/openidmetadata.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from timonel.server import routes
from timonel.server.auth.tokens import Tokens
from timonel.server.chain.info import Info
from timonel.server.exchange import JSON, Request, Response
from timonel.server.paths import Answer
from timonel.server.request import User

DISCOVERY, JWKS = "/.well-known/openid-configuration", "/openid/v1/jwks"
KEY_SET = b"application/jwk-set+json"


def documents(tokens: Tokens, keys_uri: Callable[[], str]) -> Mapping[str, Answer]:
    """By path."""

    async def discovery(request: Request, info: Info, user: User) -> Response:
        return _document(request, orjson.dumps(tokens.discovery(keys_uri())), JSON)

    async def keys(request: Request, info: Info, user: User) -> Response:
        return _document(request, orjson.dumps(tokens.jwks()), KEY_SET)

    return {DISCOVERY: discovery, JWKS: keys}


def _document(request: Request, body: bytes, content_type: bytes) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise routes.not_allowed()
    return Response(200, body, content_type)

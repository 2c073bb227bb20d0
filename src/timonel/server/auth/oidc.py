"""ID tokens of an OpenID Connect provider, or any signed JWT: who its claims name, if its issuer is trusted.

The provider's keys are read with the first token and kept; a token signed by a key that is not among them has them read
again, though not more often than every `REREAD` seconds. What the claims mean is a pure function (`jwtclaims`).

Upstream: apiserver/plugin/pkg/authenticator/token/oidc/oidc.go, coreos/go-oidc.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from timonel.aio.clock import Clock
from timonel.client.https import Endpoint, tls_context
from timonel.machinery.field import quote
from timonel.objects.meta import format_time
from timonel.server.auth import jwt, jwtclaims
from timonel.server.auth.memory import TokenMemory, key_of
from timonel.server.auth.verified import TokenError, Verified
from timonel.server.outbound import CallFailed, Outbound

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

TIMEOUT = 30.0
REREAD = 10.0  # seconds between two readings of the keys
REMEMBER = 10.0  # seconds for which a good token is not looked at again
LEEWAY = 300.0  # seconds that an issuer's clock may be ahead
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
WELL_KNOWN = "/.well-known/openid-configuration"


class _UnknownKey(Exception):
    """None of the keys that are kept has signed the token."""


class JwtAuthenticator:
    """One entry of `jwt` in an AuthenticationConfiguration; the --oidc-* flags make one, too."""

    waits = True

    def __init__(
        self,
        what: jwtclaims.Authenticator,
        *,
        outbound: Outbound,
        clock: Clock,
        api_audiences: Sequence[str] = (),
    ) -> None:
        self._what = what
        self._outbound = outbound
        self._clock = clock
        self._api_audiences = tuple(api_audiences)
        self._context = tls_context(ca_data=what.certificate_authority)
        self._keys: KeySet | None = None
        self._read = float("-inf")  # when the keys were read last, or not
        self._problem = ""  # why they could not be
        self._memory = TokenMemory(clock, REMEMBER)

    # ---- TokenAuthenticator

    def verified_now(self, token: str, audiences: Sequence[str]) -> Verified | None:
        key = key_of(token, audiences)
        if self._memory.knows(key):
            return self._memory.answer(key)
        if self._keys is None or not self._is_mine(token):
            return None
        try:
            return self._verify(token, audiences)
        except _UnknownKey:
            return None

    async def verified(self, token: str, audiences: Sequence[str]) -> Verified | None:
        if not self._is_mine(token):
            return None
        if self._keys is None:
            await self._read_keys()
        try:
            return self._verify(token, audiences)
        except _UnknownKey:
            await self._read_keys()
        try:
            return self._verify(token, audiences)
        except _UnknownKey as e:
            text = "oidc: verify token: failed to verify signature: failed to verify id token signature"
            raise TokenError(text) from e

    # ---- parts

    def _is_mine(self, token: str) -> bool:
        try:
            return bool(jwt.peek(token).get("iss") == self._what.issuer)
        except jwt.Malformed:
            return False

    def _verify(self, token: str, audiences: Sequence[str]) -> Verified | None:
        from joserfc import jws
        from joserfc.errors import JoseError

        if self._keys is None:
            raise TokenError("oidc: authenticator not initialized")
        head = jwt.header(token)
        kid, algorithm = head.get("kid"), head.get("alg")
        if algorithm not in self._what.algorithms:
            raise TokenError(
                "oidc: verify token: oidc: malformed jwt: go-jose/go-jose: unexpected signature algorithm "
                f"{quote(str(algorithm))}; expected {[*self._what.algorithms]}".replace("'", '"')
            )
        registry = jws.JWSRegistry(algorithms=list(self._what.algorithms), strict_check_header=False)
        candidates = [k for k in self._keys.keys if not kid or k.kid == kid]
        for key in candidates:
            try:
                signed = jws.deserialize_compact(token.encode(), key, registry=registry)
                claims = orjson.loads(signed.payload)
            except (JoseError, ValueError, TypeError):
                continue
            found = self._understood(claims, audiences)
            self._memory.keep(key_of(token, audiences), found)
            return found
        raise _UnknownKey

    def _understood(self, claims: Any, audiences: Sequence[str]) -> Verified | None:
        now = self._clock.now()
        if not isinstance(claims, dict):
            raise TokenError("oidc: verify token: oidc: failed to unmarshal claims")
        expires, not_before = _seconds(claims.get("exp")), _seconds(claims.get("nbf"))
        named = claims.get("aud")
        named = [named] if isinstance(named, str) else named if isinstance(named, list) else []
        if not any(a in named for a in self._what.audiences):
            shown = " ".join(map(str, named))
            one = f"expected audience {quote(self._what.audiences[0])} got [{shown}]"
            if len(self._what.audiences) > 1:
                one = f"expected audience in [{' '.join(self._what.audiences)}] got [{shown}]"
            raise TokenError(f"oidc: verify token: oidc: {one}")
        if expires is None or now >= expires:
            shown = format_time(expires) if expires is not None else "none"
            raise TokenError(f"oidc: verify token: oidc: token is expired (Token Expiry: {shown})")
        if not_before is not None and now + LEEWAY < not_before:
            raise TokenError("oidc: verify token: oidc: current time is before the nbf (not before) time")
        user = jwtclaims.user_of(self._what, claims)
        wanted = tuple(audiences) or self._api_audiences
        return Verified(user, tuple(a for a in wanted if a in self._api_audiences), expires)

    async def _read_keys(self) -> None:
        """Raises TokenError where there are none, and none were read before."""
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        now = self._clock.monotonic()
        if now - self._read >= REREAD:
            self._read = now
            try:
                self._keys, self._problem = KeySet.import_key_set(_usable(await self._key_document())), ""
            except CallFailed as e:
                self._problem = str(e)
            except (JoseError, ValueError, TypeError, KeyError, AttributeError) as e:
                self._problem = f"the provider's keys cannot be used: {e}"
        if self._keys is None:
            problem = f": {self._problem}" if self._problem else ""
            raise TokenError(f"oidc: authenticator not initialized{problem}")

    async def _key_document(self) -> Any:
        document = await self._get(self._what.discovery_url or self._what.issuer.rstrip("/") + WELL_KNOWN)
        if not isinstance(document, dict) or document.get("issuer") != self._what.issuer:
            got = document.get("issuer") if isinstance(document, dict) else document
            text = (
                f"issuer did not match the issuer returned by provider, expected {quote(self._what.issuer)}"
            )
            raise CallFailed(f"oidc: {text} got {quote(str(got))}")
        return await self._get(str(document.get("jwks_uri", "")))

    async def _get(self, url: str) -> Any:
        target = self._outbound.target_of(Endpoint(url, self._context if url.startswith("https:") else None))
        return (await self._outbound.send(target, "GET", timeout=TIMEOUT)).tree()


def _usable(document: Any) -> Any:
    """Without keys of unknown kinds, which do not spoil the others."""
    keys = [k for k in document["keys"] if isinstance(k, dict) and k.get("kty") in ("RSA", "EC")]
    return {"keys": [k for k in keys if k.get("use", "sig") == "sig"]}


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None

"""ID tokens of a provider that is reached over TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.server.auth.tlsserver import Asked, TlsServer, listening, server_of
from timonel.aio.clock import SystemClock
from timonel.server.auth import jwt, oidc
from timonel.server.auth.authn import TokenUnion
from timonel.server.auth.jwtclaims import Authenticator, Mapped, Rule
from timonel.server.auth.verified import TokenError, Verified

pytestmark = pytest.mark.looptime(False)

KEYS = jwt.Keys(jwt.new_key())


class Provider:
    """`keys` may change; `issuer` is what the provider says that it is."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.keys = KEYS
        self.issuer = ""
        self.server: TlsServer = server_of(self.answer, folder, now=self.clock.now())

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if asked.path == oidc.WELL_KNOWN:
            issuer = self.issuer or self.server.url
            return 200, {"issuer": issuer, "jwks_uri": f"{self.server.url}/keys"}
        return 200, self.keys.jwks()

    def authenticator(self, **more: Any) -> oidc.JwtAuthenticator:
        settings: dict[str, Any] = {
            "issuer": self.server.url,
            "audiences": ("me",),
            "username": Mapped("sub", "id:"),
            "groups": Mapped("groups", "g:"),
            "certificate_authority": self.server.ca,
        }
        what = Authenticator(**{**settings, **more})
        outbound = self.server.outbound(self.clock)
        return oidc.JwtAuthenticator(what, outbound=outbound, clock=self.clock, api_audiences=("api",))

    def token(self, keys: jwt.Keys | None = None, **claims: Any) -> str:
        now = int(self.clock.now())
        usual = {"iss": self.server.url, "aud": "me", "sub": "ann", "exp": now + 600, "groups": ["a", "b"]}
        return (keys or self.keys).sign({**usual, **claims})


async def verified(authenticator: oidc.JwtAuthenticator, token: str) -> Verified:
    return await TokenUnion((authenticator,)).authenticate(token)


async def test_a_token_names_its_user(tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        authenticator = provider.authenticator()

        found = await verified(authenticator, provider.token())

        assert (found.user.name, found.user.groups) == ("id:ann", ("g:a", "g:b"))
        assert found.audiences == ("api",)
        await verified(authenticator, provider.token(sub="bob"))
        assert [a.path for a in provider.server.asked] == [oidc.WELL_KNOWN, "/keys"]  # read once


async def test_known_keys_outlive_the_provider(tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    authenticator = provider.authenticator()
    async with listening(provider.server):
        authenticator = provider.authenticator()
        await verified(authenticator, provider.token())

    assert (await verified(authenticator, provider.token(sub="bob"))).user.name == "id:bob"


async def test_a_provider_that_is_down_lets_nobody_in(tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        authenticator = provider.authenticator()

    with pytest.raises(TokenError, match="oidc: authenticator not initialized: Get"):
        await verified(authenticator, provider.token())


async def test_new_keys_are_read_but_not_for_every_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        authenticator = provider.authenticator()
        await verified(authenticator, provider.token())
        stranger = jwt.Keys(jwt.new_key())
        for _ in range(3):
            with pytest.raises(TokenError, match="failed to verify signature"):
                await verified(authenticator, provider.token(stranger))
        assert len(provider.server.asked) == 2

        provider.keys = stranger
        monkeypatch.setattr(oidc, "REREAD", 0.0)
        assert (await verified(authenticator, provider.token())).user.name == "id:ann"


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"aud": "you"}, 'expected audience "me" got [you]'),
        ({"aud": None}, 'expected audience "me" got []'),
        ({"exp": 1}, "token is expired"),
        ({"exp": "soon"}, "token is expired"),
        ({"exp": None}, "token is expired"),
        ({"nbf": 1 << 40}, "current time is before the nbf"),
        ({"sub": ""}, "username claim is empty"),
        ({"sub": 5}, "cannot unmarshal number into Go value of type string"),
        ({"groups": {"a": 1}}, 'parse groups claim "groups"'),
        ({"groups": [1]}, 'parse groups claim "groups"'),
    ],
)
async def test_claims_that_do_not_do(tmp_path: Path, claims: dict[str, Any], problem: str) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        with pytest.raises(TokenError) as refused:
            await verified(provider.authenticator(), provider.token(**claims))

    assert problem in str(refused.value)


async def test_required_claims_and_mail(tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        strict = provider.authenticator(username=Mapped("email"), claim_rules=(Rule("tenant", "us"),))

        found = await verified(strict, provider.token(email="a@b.c", email_verified=True, tenant="us"))
        assert found.user.name == "a@b.c"
        for claims, problem in (
            ({"email": "a@b.c", "email_verified": False}, "oidc: email not verified"),
            ({"email": "a@b.c"}, "oidc: required claim tenant not present in ID token"),
            ({"email": "a@b.c", "tenant": "eu"}, "value does not match. Got = eu, want = us"),
            ({}, "claim not present"),
        ):
            with pytest.raises(TokenError, match=problem):
                await verified(strict, provider.token(**claims))


async def test_another_issuer_is_not_believed(tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        provider.issuer = "https://other"

        with pytest.raises(TokenError, match="issuer did not match the issuer returned by provider"):
            await verified(provider.authenticator(), provider.token())
        assert await provider.authenticator().verified(provider.token(iss="https://other"), ()) is None


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", 5, None])
async def test_a_token_says_nothing_about_how_it_is_to_be_verified(tmp_path: Path, algorithm: Any) -> None:
    provider = Provider(tmp_path)
    async with listening(provider.server):
        authenticator = provider.authenticator()
        _, body, signature = provider.token().split(".")
        head = jwt._encode(json.dumps({"alg": algorithm}).encode())
        for forged in (f"{head}.{body}.{signature}", f"{head}.{body}."):
            with pytest.raises(TokenError):
                await verified(authenticator, forged)

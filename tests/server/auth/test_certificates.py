"""Client certificates and what a front proxy says; garbage in their place is refused, never an error of ours."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from tests.server.fakes import FakeReader
from timonel.aio.clock import VirtualClock
from timonel.distro import pki
from timonel.machinery.errors import Unauthorized
from timonel.server.auth import jwt
from timonel.server.auth.authn import Anonymous, RequestAuthenticator, TokenUnion
from timonel.server.auth.certificates import Bundle, ClientCertificates
from timonel.server.auth.frontproxy import FrontProxy, HeaderNames
from timonel.server.auth.tokens import Tokens
from timonel.server.request import Credentials, User

KEYS = jwt.Keys(jwt.new_key())


class World:
    def __init__(self, folder: Path, allowed: tuple[str, ...] = ("proxy",)) -> None:
        self.clock = VirtualClock()
        self.clients = pki.Authority(folder / "clients", now=self.clock.now())
        self.proxies = pki.Authority(folder / "proxies", now=self.clock.now(), name="front")
        self.anonymous = Anonymous()
        tokens = Tokens(
            keys=KEYS,
            issuer="me",
            audiences=["me"],
            reader=FakeReader(),
            clock=self.clock,
            static={"t": User("ann")},
        )
        self.authenticator = RequestAuthenticator(
            tokens=TokenUnion((tokens,)),
            certificates=ClientCertificates(self.clock, Bundle(self.clients.pem)),
            front_proxy=FrontProxy(self.clock, Bundle(self.proxies.pem), HeaderNames(allowed=allowed)),
            anonymous=lambda: self.anonymous,
        )

    def certificate(self, user: str, *groups: str, proxy: bool = False) -> bytes:
        authority = self.proxies if proxy else self.clients
        files = authority.client(f"c-{user}-{proxy}", user=user, groups=groups)
        found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        return found.public_bytes(serialization.Encoding.DER)

    async def who(
        self, certificate: bytes | None = None, *headers: tuple[bytes, bytes], token: str = "", path: str = ""
    ) -> User | None:
        given = Credentials(f"Bearer {token}" if token else "", certificate, headers=headers, path=path)
        return await self.authenticator.authenticate(given)


async def test_a_certificate_names_its_user_until_it_expires(tmp_path: Path) -> None:
    world = World(tmp_path)
    certificate = world.certificate("jane", "devs")

    found = await world.who(certificate)
    assert found is not None
    assert (found.name, found.groups) == ("jane", ("devs", "system:authenticated"))
    assert found.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")

    await world.clock.advance(datetime.timedelta(days=366).total_seconds())
    with pytest.raises(Unauthorized):
        await world.who(certificate)


async def test_a_proxy_says_who_asks(tmp_path: Path) -> None:
    world = World(tmp_path)
    headers = (
        (b"x-remote-user", b"joe"),
        (b"x-remote-uid", b"7"),
        (b"x-remote-group", b"devs"),
        (b"x-remote-group", "ü".encode()),
        (b"x-remote-extra-Example.com%2FTeam", b"a"),
        (b"x-remote-extra-example.com%2fteam", b"b"),
    )

    found = await world.who(world.certificate("proxy", proxy=True), *headers)

    groups = ("devs", "ü", "system:authenticated")
    assert found == User("joe", groups, "7", {"example.com/team": ("a", "b")})


@pytest.mark.parametrize(
    ("name", "proxy", "allowed", "expected"),
    [
        ("proxy", True, ("proxy",), "joe"),
        ("other", True, ("proxy",), None),
        ("other", True, (), "joe"),
        ("proxy", False, ("proxy",), "proxy"),  # a client that has the name is no proxy
    ],
)
async def test_only_proxies_say_who_asks(
    tmp_path: Path, name: str, proxy: bool, allowed: tuple[str, ...], expected: str | None
) -> None:
    world = World(tmp_path, allowed)
    certificate = world.certificate(name, proxy=proxy)

    if expected is None:
        with pytest.raises(Unauthorized):
            await world.who(certificate, (b"x-remote-user", b"joe"))
    else:
        found = await world.who(certificate, (b"x-remote-user", b"joe"))
        assert found is not None
        assert found.name == expected


async def test_a_proxy_that_says_nothing_is_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    certificate = world.certificate("proxy", "system:masters", proxy=True)

    with pytest.raises(Unauthorized):
        await world.who(certificate)
    found = await world.who(certificate, token="t")
    assert found is not None
    assert found.name == "ann"


async def test_headers_without_a_certificate_say_nothing(tmp_path: Path) -> None:
    assert await World(tmp_path).who(None, (b"x-remote-user", b"admin")) is None


@pytest.mark.parametrize(
    ("anonymous", "path", "admitted"),
    [
        (Anonymous(), "/api", True),
        (Anonymous(enabled=False), "/livez", False),
        (Anonymous(paths=frozenset({"/livez"})), "/livez", True),
        (Anonymous(paths=frozenset({"/livez"})), "/livez/ping", False),
    ],
)
async def test_who_may_be_nobody(tmp_path: Path, anonymous: Anonymous, path: str, admitted: bool) -> None:
    world = World(tmp_path)
    world.anonymous = anonymous

    if admitted:
        assert await world.who(path=path) is None
    else:
        with pytest.raises(Unauthorized):
            await world.who(path=path)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def asked(world: World, credentials: Credentials) -> User | None:
    """Without a loop: nothing here has to wait."""
    attempt = world.authenticator.authenticate(credentials)
    try:
        attempt.send(None)
    except StopIteration as answer:
        found: User | None = answer.value
        return found
    raise AssertionError("it waits")


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(max_size=8))
def test_no_bytes_in_place_of_a_certificate_are_our_error(
    one: World, raw: bytes, at: int, patch: bytes
) -> None:
    good = one.certificate("jane", "devs")
    damaged = good[:at] + patch + good[at + len(patch) :]
    for der in (raw, damaged):
        try:
            found = asked(one, Credentials("", der, headers=((b"x-remote-user", b"admin"),)))
        except Unauthorized:
            continue
        assert found is not None
        assert (found.name, found.groups[0]) == ("jane", "devs") if der != good else True


CLAIMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("aud", "exp", "nbf", "sub", "jti", "kubernetes.io")


@given(st.dictionaries(st.sampled_from(NAMES), CLAIMS), st.sampled_from(["me", "kubernetes/serviceaccount"]))
def test_no_signed_claims_are_our_error(one: World, claims: dict[str, object], issuer: str) -> None:
    with pytest.raises(Unauthorized):
        asked(one, Credentials(f"Bearer {KEYS.sign({**claims, 'iss': issuer})}"))


@given(st.text(max_size=200), st.text(max_size=30), st.integers(0, 200))
def test_no_text_in_place_of_a_token_is_our_error(one: World, text: str, patch: str, at: int) -> None:
    good = KEYS.sign({"iss": "me"})
    for token in (text, good[:at] + patch + good[at + len(patch) :]):
        try:
            found = asked(one, Credentials(f"Bearer {token}", websocket_token=text))
        except Unauthorized:
            continue
        assert found is None or token.split(" ")[0] == "t"

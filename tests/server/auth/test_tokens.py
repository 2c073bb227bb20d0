"""Tokens: issued ones come back as their account, and stop working when what they rest on goes."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.server.fakes import FakeReader, pod
from timonel.aio.clock import VirtualClock
from timonel.objects.meta import Object
from timonel.server.auth import jwt
from timonel.server.auth.authn import RequestAuthenticator, TokenUnion
from timonel.server.auth.certificates import Bundle, ClientCertificates
from timonel.server.auth.tokens import Tokens
from timonel.server.auth.verified import TokenError
from timonel.server.request import Credentials, User

ISSUER = "https://kubernetes.default.svc"
KEY = jwt.new_key()


def account(uid: str = "u1") -> Object:
    metadata = {"name": "sa", "namespace": "shop", "uid": uid}
    return {"kind": "ServiceAccount", "metadata": metadata}


class World:
    def __init__(self, keys: jwt.Keys | None = None) -> None:
        self.reader, self.clock = FakeReader(), VirtualClock()
        self.reader.put("serviceaccounts", account())
        self.tokens = Tokens(
            keys=keys or jwt.Keys(KEY),
            issuer=ISSUER,
            audiences=[ISSUER],
            reader=self.reader,
            clock=self.clock,
            static={"secret": User("admin", ("system:masters",), "uid")},
        )


def authenticator_of(world: World) -> RequestAuthenticator:
    certificates = ClientCertificates(world.clock, Bundle())
    return RequestAuthenticator(
        tokens=TokenUnion((world.tokens,)), certificates=certificates, still=world.tokens.still
    )


def test_an_issued_token_speaks_for_its_account() -> None:
    world = World()

    found = world.tokens.verify(world.tokens.issue(account()).token)

    assert found.user.name == "system:serviceaccount:shop:sa"
    assert found.user.groups == ("system:serviceaccounts", "system:serviceaccounts:shop")
    assert found.user.uid == "u1"
    assert found.audiences == (ISSUER,)


def test_an_rsa_key_signs_as_well() -> None:
    world = World(jwt.Keys(rsa.generate_private_key(65537, 2048)))

    assert world.tokens.verify(world.tokens.issue(account()).token).user.uid == "u1"


def test_a_token_of_another_key_is_refused() -> None:
    token = World(jwt.Keys(jwt.new_key())).tokens.issue(account()).token

    with pytest.raises(TokenError, match=r"^invalid bearer token$"):
        World().tokens.verify(token)


def test_a_changed_token_is_refused() -> None:
    world = World()
    head, _, signature = world.tokens.issue(account()).token.split(".")
    claims = base64.urlsafe_b64encode(b'{"iss":"https://kubernetes.default.svc"}').decode().rstrip("=")

    with pytest.raises(TokenError):
        world.tokens.verify(f"{head}.{claims}.{signature}")


def test_a_token_is_for_its_audience_only() -> None:
    world = World()
    token = world.tokens.issue(account(), audiences=["a", "b"]).token

    assert world.tokens.verify(token, ["b", "c"]).audiences == ("b",)
    with pytest.raises(TokenError) as error:
        world.tokens.verify(token)
    assert str(error.value) == (
        f'[invalid bearer token, token audiences ["a" "b"] is invalid for the target audiences ["{ISSUER}"]]'
    )


async def test_a_token_ends_with_its_time() -> None:
    world = World()
    token = world.tokens.issue(account(), seconds=600).token
    assert world.tokens.verify(token)

    await world.clock.advance(601)

    with pytest.raises(TokenError, match="has expired"):
        world.tokens.verify(token)


def test_a_token_ends_with_its_account_at_once() -> None:
    world = World()
    token = world.tokens.issue(account()).token
    assert world.tokens.verify(token)

    world.reader.remove("serviceaccounts", "shop", "sa")

    with pytest.raises(TokenError):
        world.tokens.verify(token)


def test_a_new_account_of_the_same_name_does_not_revive_old_tokens() -> None:
    world = World()
    token = world.tokens.issue(account()).token
    assert world.tokens.verify(token)

    world.reader.put("serviceaccounts", account(uid="u2"))

    with pytest.raises(TokenError, match="UID"):
        world.tokens.verify(token)


def test_a_bound_token_ends_with_its_pod_and_names_it() -> None:
    world = World()
    bound = world.reader.put("pods", pod("p"))
    token = world.tokens.issue(account(), bound=bound).token

    assert world.tokens.verify(token).user.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    world.reader.remove("pods", "shop", "p")
    with pytest.raises(TokenError):
        world.tokens.verify(token)


def test_a_pods_hourly_token_is_kept_alive_for_clients_that_do_not_renew_it() -> None:
    world = World()
    bound = world.reader.put("pods", pod("p"))

    issued = world.tokens.issue(account(), bound=bound, seconds=3607)
    claims = jwt.peek(issued.token)

    assert issued.expires == world.clock.now() + 3607
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607


def test_a_legacy_token_must_be_the_one_in_its_secret() -> None:
    world = World()
    secret: Object = {"metadata": {"name": "t", "namespace": "shop", "uid": "s"}}
    token = world.tokens.issue_legacy(account(), secret)
    world.reader.put("secrets", {**secret, "data": {"token": base64.b64encode(token.encode()).decode()}})

    assert world.tokens.verify(token).user.name == "system:serviceaccount:shop:sa"
    world.reader.put("secrets", {**secret, "data": {"token": "b3RoZXI="}})
    with pytest.raises(TokenError, match="does not match"):
        world.tokens.verify(token)


def test_a_bootstrap_token_is_a_bootstrapper() -> None:
    world = World()
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:nodes",
    }
    world.reader.put(
        "secrets",
        {
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
        },
    )

    user = world.tokens.verify("abcdef.0123456789abcdef").user

    assert user.name == "system:bootstrap:abcdef"
    assert user.groups == ("system:bootstrappers", "system:bootstrappers:nodes")
    with pytest.raises(TokenError):
        world.tokens.verify("abcdef.0123456789abcdeX".lower())


@pytest.mark.parametrize(
    ("authorization", "name"),
    [
        ("Bearer secret", "admin"),
        ("bearer secret", "admin"),
        ("Basic x", None),
        ("", None),
        ("Bearer ", None),
    ],
)
async def test_the_authorization_header(authorization: str, name: str | None) -> None:
    user = await authenticator_of(World()).authenticate(Credentials(authorization))

    assert (user.name if user else None) == name
    assert user is None or "system:authenticated" in user.groups


async def test_a_wrong_token_is_not_anonymous() -> None:
    from timonel.machinery.errors import Unauthorized

    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        await authenticator_of(World()).authenticate(Credentials("Bearer wrong"))


async def test_who_is_settled_is_so_until_the_token_ends() -> None:
    world = World()
    authenticator, shown = (
        authenticator_of(world),
        Credentials(f"Bearer {world.tokens.issue(account(), seconds=600).token}"),
    )
    assert authenticator.settled(shown) is None, "nobody has looked at it yet"
    user = await authenticator.authenticate(shown)

    again = authenticator.settled(shown)

    assert again is not None
    assert again() is user
    await world.clock.advance(601)
    assert again() is None


async def test_who_is_settled_is_so_until_the_account_goes() -> None:
    world = World()
    authenticator, shown = (
        authenticator_of(world),
        Credentials(f"Bearer {world.tokens.issue(account()).token}"),
    )
    await authenticator.authenticate(shown)
    again = authenticator.settled(shown)
    assert again is not None
    assert again() is not None

    world.reader.remove("serviceaccounts", "shop", "sa")

    assert again() is None
    assert authenticator.settled(shown) is None


async def test_who_is_settled_is_so_until_the_file_of_tokens_changes() -> None:
    world = World()
    authenticator, shown = authenticator_of(world), Credentials("Bearer secret")
    await authenticator.authenticate(shown)
    again = authenticator.settled(shown)
    assert again is not None
    assert again() is not None

    world.tokens.replace_static({})

    assert again() is None


async def test_nobody_is_settled_by_a_certificate() -> None:
    assert authenticator_of(World()).settled(Credentials("Bearer secret", certificate=b"x")) is None

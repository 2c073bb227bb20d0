"""Flags and configuration files: what they mean, and why some are refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.auth.tlsserver import NOW
from timonel.distro import pki
from timonel.server.auth import durations, flags, structured
from timonel.server.auth.frontproxy import HeaderNames
from timonel.server.auth.jwtclaims import user_of
from timonel.server.auth.settings import AuthSettings, ConfigError
from timonel.server.auth.verified import TokenError
from timonel.server.request import User

BASE = AuthSettings()
OIDC = {"oidc-issuer-url": "https://id.example.com", "oidc-client-id": "me"}


def test_flags_of_oidc_make_an_authenticator() -> None:
    (made,) = flags.read({**OIDC, "oidc-groups-claim": "groups", "oidc-required-claim": "a=b,c=d"}, BASE).jwt

    claims = {"sub": "ann", "groups": ["x"], "a": "b", "c": "d"}
    assert user_of(made, claims) == User("https://id.example.com#ann", ("x",))
    with pytest.raises(TokenError):
        user_of(made, {**claims, "a": "c"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "clusters: 5",
        "current-context: x",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {}}]",
        "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://h'}}]\nusers: [{name: u, user: {client-certificate: /none}}]",
    ],
)
def test_kubeconfig_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)

    with pytest.raises(ConfigError, match=str(file)):
        flags.read({"authentication-token-webhook-config-file": str(file)}, BASE)


def test_id_tokens_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "find_spec", lambda name: None)

    assert flags.read({}, BASE) == BASE
    with pytest.raises(ConfigError, match="need the package joserfc"):
        flags.read(OIDC, BASE)


def test_a_token_file_adds_users(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('t1,ann,1,"a,b"\n\nt2, bob ,2\n,nobody,3\n')

    found = flags.read({"token-auth-file": str(file)}, BASE).static_tokens

    assert found == {"t1": User("ann", ("a", "b"), "1"), "t2": User("bob ", (), "2")}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"oidc-client-id": "me"}, "must be specified together"),
        ({**OIDC, "oidc-issuer-url": "http://id"}, "URL scheme must be https"),
        ({**OIDC, "authentication-config": "/x"}, "mutually exclusive"),
        ({"authorization-mode": "Everything"}, "is not a valid mode"),
        ({"authorization-mode": "RBAC,RBAC"}, "has mode specified more than once"),
        ({"authorization-mode": "Webhook"}, "authorization config file not passed"),
        ({"authorization-webhook-config-file": "/x"}, "without mode Webhook"),
        ({"authorization-config": "/x", "authorization-mode": "RBAC"}, "can not be specified when"),
        ({"anonymous-auth": "perhaps"}, 'invalid argument "perhaps" for "--anonymous-auth" flag'),
        ({"client-ca-file": "/does/not/exist"}, "/does/not/exist"),
        ({"token-auth-file": __file__}, "at least 3 columns"),
    ],
)
def test_flags_that_cannot_be_used(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        flags.read(given, BASE)


def test_the_authorities_of_the_cluster_stay(tmp_path: Path) -> None:
    file = tmp_path / "other.pem"
    file.write_text("OTHER")
    own = AuthSettings(
        client_ca="OWN\n", front_proxy_ca="PROXY\n", header_names=HeaderNames(allowed=("own",))
    )
    given = {
        "client-ca-file": str(file),
        "requestheader-client-ca-file": str(file),
        "requestheader-allowed-names": "theirs",
        "requestheader-username-headers": "X-User",
    }

    found = flags.read(given, own)

    assert (found.client_ca, found.front_proxy_ca) == ("OWN\nOTHER\n", "PROXY\nOTHER\n")
    assert found.header_names == HeaderNames(("X-User",), (), (), (), ("theirs", "own"))


def test_files_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(pki.Authority(tmp_path / "a", now=NOW).pem)
    reread = flags.rereader({"client-ca-file": str(file)}, BASE)
    assert reread is not None
    assert reread() is None

    file.write_text("other")
    found = reread()

    assert found is not None
    assert found.client_ca == "other\n"
    assert flags.rereader({"anonymous-auth": "false"}, BASE) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1s", 1),
        ("2m30s", 150),
        ("1.5h", 5400),
        ("300ms", 0.3),
        ("-1s", -1),
        ("+1s", 1),
        (".5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s2", "--1s", "1e3s", "9999999999h", "1 s", "\u0661s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="time: invalid duration"):
        durations.parse(text)


# ---- files

AUTHENTICATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: {enabled: true, conditions: [{path: /livez}]}
jwt:
- issuer: {url: https://id.example.com, audiences: [me, you], audienceMatchPolicy: MatchAny}
  claimValidationRules:
  - {expression: "claims.tenant == 'us'", message: only us}
  - {claim: kind, requiredValue: person}
  claimMappings:
    username: {expression: "claims.name + '!'"}
    groups: {claim: roles, prefix: "r:"}
    uid: {expression: "claims.id"}
    extra: [{key: example.com/team, valueExpression: "claims.teams"}]
  userValidationRules:
  - {expression: "!user.username.startsWith('system:')", message: no system users}
"""
GOOD = {"tenant": "us", "kind": "person", "name": "ann", "roles": "admin", "id": "7", "teams": ["x", "y"]}


def test_an_authentication_configuration() -> None:
    (made,), anonymous = structured.authentication(yaml.safe_load(AUTHENTICATION))

    assert user_of(made, GOOD) == User("ann!", ("r:admin",), "7", {"example.com/team": ("x", "y")})
    assert anonymous is not None
    assert (anonymous.admits("/livez"), anonymous.admits("/readyz")) == (True, False)


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"tenant": "eu"}, "oidc: validation expression 'claims.tenant == 'us'' failed: only us"),
        ({"name": "system:admin"}, "failed: no system users"),
        ({"kind": "robot"}, "required claim kind value does not match"),
        ({"name": 5}, "error evaluating username claim expression"),
        ({"id": ["7"]}, "error extracting UID"),
        ({"teams": {"a": 1}}, "error evaluating extra claim expression"),
    ],
)
def test_claims_are_held_against_rules(claims: dict[str, Any], problem: str) -> None:
    (made,), _ = structured.authentication(yaml.safe_load(AUTHENTICATION))

    with pytest.raises(TokenError) as refused:
        user_of(made, {**GOOD, **claims})
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("kind: AuthenticationConfiguration -> kind: Pod", "expected a document of kind"),
        ("apiserver.config.k8s.io/v1 -> v1", "no kind"),
        ("https://id -> http://id", "jwt[0].issuer.url: Invalid value"),
        ("audiences: [me, you] -> audiences: []", "jwt[0].issuer.audiences: Required value"),
        (", audienceMatchPolicy: MatchAny -> ", "audienceMatchPolicy must be MatchAny"),
        ("claims.name + '!' -> claims.email", "claims.email_verified must be used in"),
        ("claims.name + -> claims.name +* ", "jwt[0].claimMappings.username.expression: Invalid value"),
        ("claims.tenant == 'us' -> claims.tenant", "claimValidationRules[0].expression"),
        (', prefix: "r:" -> ', "prefix is required when claim is set"),
        ("example.com/team -> team", "must be a domain-prefixed path"),
        ("enabled: true -> enabled: false", "enabled should be set to true when conditions are defined"),
    ],
)
def test_authentication_configurations_that_are_refused(change: str, problem: str) -> None:
    old, _, new = change.partition(" -> ")
    document = yaml.safe_load(AUTHENTICATION.replace(old, new))

    with pytest.raises(ConfigError) as refused:
        structured.authentication(document)
    assert problem in str(refused.value)


ODD: list[Any] = [None, 5, "x", [], {}, [5], [{}], {"a": 1}, True]


@pytest.mark.parametrize(("key", "value"), [*itertools.product(["jwt", "anonymous"], ODD)])
def test_odd_authentication_configurations_are_refused_or_empty(key: str, value: Any) -> None:
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", key: value}

    try:
        found, _ = structured.authentication(document)
    except ConfigError:
        return
    assert found == ()


def test_an_authorization_configuration() -> None:
    document = yaml.safe_load("""
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: mine
  webhook:
    authorizedTTL: 10s
    timeout: 3s
    failurePolicy: Deny
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /file}
    matchConditions: [{expression: "has(request.resourceAttributes)"}]
- {type: RBAC, name: rbac}
""")
    endpoint: Any = object()

    webhook, rbac = structured.authorization(document, lambda path: endpoint)

    assert rbac.type == "RBAC"
    assert webhook.webhook is not None
    settings = webhook.webhook
    assert (settings.authorized_ttl, settings.unauthorized_ttl, settings.timeout) == (10.0, 30.0, 3.0)
    assert settings.denies_on_failure
    assert settings.endpoint is endpoint
    broken: dict[str, Any]
    for broken in (
        {"authorizers": []},
        {"authorizers": [{"type": "ABAC", "name": "a"}]},
        {"authorizers": [{}]},
    ):
        with pytest.raises(ConfigError):
            structured.authorization({**document, **broken}, lambda path: endpoint)

"""Webhooks of authentication and authorization, over TLS: asked, remembered, down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.server.auth.tlsserver import Asked, TlsServer, listening, server_of
from timonel.aio.clock import SystemClock, VirtualClock
from timonel.server.auth import retrying, webhook_authorizer, webhook_tokens
from timonel.server.auth.authn import TokenUnion
from timonel.server.auth.expressions import request_expression
from timonel.server.auth.verified import TokenError, Verified
from timonel.server.auth.webhook_tokens import WebhookTokens
from timonel.server.request import Attributes, Authorizer, Decision, Undecided, User, Verdict

pytestmark = pytest.mark.looptime(False)

JANE = User("jane", ("devs",), "7", {"scope": ("a", "b")})
PODS = Attributes(
    JANE,
    "get",
    path="/api/v1/namespaces/shop/pods/p",
    version="v1",
    resource="pods",
    namespace="shop",
    name="p",
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_DELAY", 0.01)


def answering(folder: Path, **status: Any) -> TlsServer:
    def answer(asked: Asked) -> tuple[int, Any]:
        return 200, {**asked.tree, "status": status}

    return server_of(answer, folder, now=SystemClock().now())


def tokens_of(server: TlsServer, **settings: Any) -> WebhookTokens:
    clock = SystemClock()
    what = webhook_tokens.Settings(server.endpoint, **settings)
    return WebhookTokens(what, ("api",), server.outbound(clock), clock)


async def verified(tokens: WebhookTokens, token: str = "t", *audiences: str) -> Verified:
    return await TokenUnion((tokens,)).authenticate(token, audiences)


async def test_a_token_is_asked_about_once(tmp_path: Path) -> None:
    user = {"username": "jane", "uid": "7", "groups": ["devs"], "extra": {"scope": ["a", "b"]}}
    server = answering(tmp_path, authenticated=True, user=user)
    async with listening(server):
        tokens = tokens_of(server)
        found = await verified(tokens)

        assert found.user == JANE
        assert found.audiences == ("api",)
        review = server.asked[0].tree
        assert (review["apiVersion"], review["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
        assert review["spec"] == {"token": "t", "audiences": ["api"]}
        await verified(tokens)
        assert len(server.asked) == 1

    assert (await verified(tokens)).user == JANE  # the webhook is down, the answer is known


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({"authenticated": False}, "invalid bearer token"),
        ({"authenticated": False, "error": "no such thing"}, "[invalid bearer token, no such thing]"),
        ({"authenticated": True, "user": {"username": "j"}, "audiences": ["other"]}, "invalid bearer token"),
        ({"authenticated": True, "user": {"username": 5}}, "a user of an unknown form"),
        ({"authenticated": True, "user": {"username": "j", "groups": "devs"}}, "a user of an unknown form"),
        ({"authenticated": True}, "named no user"),
    ],
)
async def test_answers_that_let_nobody_in(tmp_path: Path, status: dict[str, Any], problem: str) -> None:
    server = answering(tmp_path, **status)
    async with listening(server):
        tokens = tokens_of(server)
        for _ in range(2):
            with pytest.raises(TokenError) as refused:
                await verified(tokens)
            assert problem in str(refused.value)

    assert len(server.asked) == 1  # refusals are remembered, too


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"kind": "Pod"}', b'{"status": 5}'])
async def test_what_is_no_review_lets_nobody_in(tmp_path: Path, body: bytes) -> None:
    server = server_of(lambda asked: (200, body), tmp_path, now=SystemClock().now())
    async with listening(server):
        with pytest.raises(TokenError):
            await verified(tokens_of(server))


async def test_a_webhook_in_trouble_is_asked_again(tmp_path: Path) -> None:
    left = [503, 500, 200]

    def answer(asked: Asked) -> tuple[int, Any]:
        status = left.pop(0)
        return status, {"status": {"authenticated": True, "user": {"username": "j"}}} if status == 200 else {}

    server = server_of(answer, tmp_path, now=SystemClock().now())
    async with listening(server):
        assert (await verified(tokens_of(server))).user.name == "j"


async def test_a_webhook_that_is_down_lets_nobody_in(tmp_path: Path) -> None:
    server = answering(tmp_path)
    async with listening(server):
        pass

    with pytest.raises(TokenError, match=r"connection refused|Connect call failed"):
        await verified(tokens_of(server))


# ---- authorization


def authorizer_of(server: TlsServer, **settings: Any) -> webhook_authorizer.WebhookAuthorizer:
    clock = SystemClock()
    what = webhook_authorizer.Settings(server.endpoint, **settings)
    return webhook_authorizer.WebhookAuthorizer(what, server.outbound(clock), clock)


async def decided(authorizer: Authorizer, asked: Attributes = PODS) -> Decision:
    for _ in range(3):
        try:
            return authorizer.authorize(asked)
        except Undecided as question:
            await question.ask()
    raise AssertionError("it never decides")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"allowed": True, "reason": "because"}, Decision(Verdict.ALLOW, "because")),
        ({"allowed": False, "reason": "who?"}, Decision(Verdict.NO_OPINION, "who?")),
        ({"allowed": False, "denied": True, "reason": "no"}, Decision(Verdict.DENY, "no")),
        (
            {"allowed": True, "denied": True},
            Decision(
                Verdict.DENY,
                problem="webhook subject access review returned both allow and deny response",
            ),
        ),
        ({}, Decision(Verdict.NO_OPINION)),
    ],
)
async def test_what_a_webhook_decides(tmp_path: Path, status: dict[str, Any], expected: Decision) -> None:
    server = answering(tmp_path, **status)
    async with listening(server):
        authorizer = authorizer_of(server)

        assert await decided(authorizer) == expected
        assert await decided(authorizer) == expected

    assert len(server.asked) == 1
    assert server.asked[0].tree["spec"] == {
        "user": "jane",
        "groups": ["devs"],
        "extra": {"scope": ["a", "b"]},
        "uid": "7",
        "resourceAttributes": {
            "namespace": "shop",
            "verb": "get",
            "version": "v1",
            "resource": "pods",
            "name": "p",
        },
    }


@pytest.mark.parametrize(("denies", "verdict"), [(False, Verdict.NO_OPINION), (True, Verdict.DENY)])
async def test_the_failure_policy_decides_for_a_webhook_that_is_down(
    tmp_path: Path, denies: bool, verdict: Verdict
) -> None:
    server = answering(tmp_path)
    async with listening(server):
        pass
    found = await decided(authorizer_of(server, denies_on_failure=denies))

    assert found.verdict is verdict
    assert found.problem.startswith(f'Post "{server.url}/hook')


async def test_answers_get_old() -> None:
    clock = VirtualClock()
    settings = webhook_authorizer.Settings(None, authorized_ttl=10.0)  # type: ignore[arg-type]
    authorizer = webhook_authorizer.WebhookAuthorizer(settings, None, clock)  # type: ignore[arg-type]
    authorizer._keep(b"key", Decision(Verdict.ALLOW), 10.0)

    assert authorizer._answers[b"key"][0] == clock.monotonic() + 10.0


@pytest.mark.parametrize(
    ("expression", "asked", "expected"),
    [
        ("request.resourceAttributes.namespace == 'shop'", PODS, True),
        ("request.resourceAttributes.namespace == 'other'", PODS, False),
        ("'devs' in request.groups", PODS, True),
        ("has(request.resourceAttributes)", Attributes(JANE, "get", path="/healthz"), False),
    ],
)
async def test_conditions_say_whom_a_webhook_is_asked_about(
    tmp_path: Path, expression: str, asked: Attributes, expected: bool
) -> None:
    server = answering(tmp_path, allowed=True)
    async with listening(server):
        found = await decided(authorizer_of(server, conditions=(request_expression(expression),)), asked)

    assert (found.verdict is Verdict.ALLOW) == expected
    assert bool(server.asked) == expected


async def test_a_condition_that_fails_follows_the_failure_policy(tmp_path: Path) -> None:
    condition = request_expression("request.resourceAttributes.namespace == 'shop'")
    asked = Attributes(JANE, "get", path="/healthz")
    server = answering(tmp_path, allowed=True)

    found = await decided(authorizer_of(server, conditions=(condition,), denies_on_failure=True), asked)

    assert found.verdict is Verdict.DENY
    assert "resulted in error" in found.problem


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (
            {"field_selector": "spec.nodeName=n,metadata.name!=x"},
            {
                "fieldSelector": {
                    "requirements": [
                        {"key": "spec.nodeName", "operator": "In", "values": ["n"]},
                        {"key": "metadata.name", "operator": "NotIn", "values": ["x"]},
                    ]
                }
            },
        ),
        (
            {"label_selector": "a in (b,c),!d,e"},
            {
                "labelSelector": {
                    "requirements": [
                        {"key": "a", "operator": "In", "values": ["b", "c"]},
                        {"key": "d", "operator": "DoesNotExist"},
                        {"key": "e", "operator": "Exists"},
                    ]
                }
            },
        ),
        ({"label_selector": "!!"}, {}),
    ],
)
def test_selectors_are_told(selectors: Mapping[str, str], expected: dict[str, Any]) -> None:
    asked = Attributes(JANE, "list", resource="pods", **selectors)

    spec = webhook_authorizer.spec_of(asked)["resourceAttributes"]

    assert {key: spec[key] for key in spec if key.endswith("Selector")} == expected

"""A whole server: who is let in, who decides, and what it says when those cannot be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.auth.tlsserver import Asked, TlsServer, listening, server_of
from tests.server.starting import ADMIN, SCHEME, Answer, send
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.transport import Resource
from timonel.distro import pki
from timonel.machinery import errors
from timonel.server.app import ApiServer
from timonel.server.auth import access, flags, jwt, retrying, webhook_authorizer, webhook_tokens
from timonel.server.auth.settings import Authorizer, AuthSettings
from timonel.server.compose import Settings, compose
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

PODS = "/api/v1/namespaces/default/pods"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def decide(asked: Asked) -> tuple[int, Any]:
    """Knows the token `jane`; jane may read, nobody may touch secrets."""
    spec = asked.tree["spec"]
    if "token" in spec:
        known = spec["token"] == "jane"
        return 200, {"status": {"authenticated": known, "user": {"username": "jane"} if known else {}}}
    resource = spec.get("resourceAttributes", {})
    if resource.get("resource") == "secrets":
        return 200, {"status": {"allowed": False, "denied": True, "reason": "never"}}
    allowed = spec["user"] == "jane" and resource.get("verb") in ("get", "list", "impersonate")
    return 200, {"status": {"allowed": allowed, "reason": "mine"}}


@asynccontextmanager
async def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ApiServer, TlsServer]]:
    monkeypatch.setattr(retrying, "FIRST_DELAY", 0.01)
    clock = SystemClock()
    hook = server_of(decide, folder, now=clock.now())
    async with listening(hook):
        auth = AuthSettings(
            token_webhook=webhook_tokens.Settings(hook.endpoint),
            authorizers=(
                Authorizer("Webhook", webhook_authorizer.Settings(hook.endpoint)),
                Authorizer("RBAC"),
            ),
        )
        tokens = {"secret": ADMIN, "bobs": User("bob")}
        security = SecuritySettings(keys=jwt.Keys(jwt.new_key()), static_tokens=tokens, auth=auth)
        server = compose(Settings(security), store=MemoryStore(), scheme=SCHEME, clock=clock, tls=None)
        async with running(server):
            yield server, hook


async def ask(
    server: ApiServer, path: str, token: str, method: str = "GET", body: Any = None, **more: str
) -> Answer:
    return await send(server, method, path, body, token=token, **more)


async def test_webhooks_let_in_and_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as (server, hook):
        assert (await ask(server, PODS, "jane")).status == 200
        count = len(hook.asked)
        assert (await ask(server, PODS, "jane")).status == 200
        assert len(hook.asked) == count  # nothing is asked twice

        refused = await ask(server, PODS, "jane", "POST", {})
        assert refused.status == 403
        assert refused.body["message"].endswith('in the namespace "default": mine')
        assert (await ask(server, PODS, "unknown")).status == 401
        assert (await ask(server, "/api/v1/secrets", "jane")).body["message"].endswith(": never")
        assert (await ask(server, "/api/v1/secrets", "secret")).status == 200  # system:masters
        assert (await ask(server, PODS, "bobs", Impersonate_User="jane")).status == 403
        assert (await ask(server, PODS, "jane", Impersonate_User="bob")).status == 403
        assert (await ask(server, PODS, "jane", Impersonate_User="jane")).status == 200


async def test_reviews_say_what_webhooks_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as (server, _):
        for resource, verb, expected in (
            ("pods", "list", {"allowed": True, "reason": "mine"}),
            ("pods", "delete", {"allowed": False, "reason": "mine"}),
            ("secrets", "get", {"allowed": False, "denied": True, "reason": "never"}),
        ):
            spec = {"user": "jane", "resourceAttributes": {"resource": resource, "verb": verb}}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
            assert (await ask(server, REVIEWS, "secret", "POST", review)).body["status"] == expected
            inside = await server.transport_for(ADMIN).create(
                Resource("authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False),
                {**review, "metadata": {}},
            )
            assert inside["status"] == expected
        token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "jane"}}
        answer = await ask(server, "/apis/authentication.k8s.io/v1/tokenreviews", "secret", "POST", token)
        assert answer.body["status"]["user"] == {"username": "jane", "groups": ["system:authenticated"]}


async def test_clients_in_the_process_are_decided_about_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, monkeypatch) as (server, _):
        pods = Resource("", "v1", "pods", namespaced=True)

        assert (await server.transport_for(User("jane")).list(pods, "default")).items == []
        with pytest.raises(errors.Forbidden):
            await server.transport_for(User("jane")).list(Resource("", "v1", "secrets", namespaced=True))
        with pytest.raises(errors.Forbidden):
            await server.transport_for(User("tim")).list(pods, "default")


async def test_when_those_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as (server, hook):
        assert (await ask(server, PODS, "jane")).status == 200
        for connection in hook.connections:
            connection.close()
        hook.answer = lambda asked: (503, b"gone fishing")

        assert (await ask(server, PODS, "jane")).status == 200  # remembered
        assert (await ask(server, PODS, "new")).status == 401
        failed = await ask(server, PODS + "/p", "jane")
        assert failed.status == 500
        assert failed.body["message"].startswith(f'Internal Server Error: "{PODS}/p": ')
        assert (await ask(server, PODS, "secret")).status == 200
        assert (await ask(server, "/version", "bobs")).status == 200  # RBAC allows it, whatever others say


async def test_changed_files_apply_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "LOOK", 0.02)
    clock = SystemClock()
    one, two = (pki.Authority(tmp_path / name, now=clock.now()).pem for name in ("one", "two"))
    base = AuthSettings(client_ca=one, front_proxy_ca=two)
    files, tokens = tmp_path / "ca.pem", tmp_path / "tokens"
    files.write_text(one)
    tokens.write_text("file,ann,1\n")
    given = {"client-ca-file": str(files), "token-auth-file": str(tokens)}
    trusted: list[str] = []
    security = SecuritySettings(
        keys=jwt.Keys(jwt.new_key()),
        static_tokens={"secret": ADMIN},
        auth=flags.read(given, base),
        reread=flags.rereader(given, base),
        trust=trusted.append,
    )
    server = compose(Settings(security), store=MemoryStore(), scheme=SCHEME, clock=clock, tls=None)
    where = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    async with running(server):
        assert (await ask(server, "/version", "file")).status == 200
        files.write_text("broken")
        await asyncio.sleep(0.1)
        assert (await ask(server, "/version", "file")).status == 200  # the last good settings stay

        files.write_text(two)
        tokens.write_text("other,ann,1\n")
        for _ in range(500):
            data = (await ask(server, where, "secret")).body["data"]
            if two.strip() in data["client-ca-file"]:
                break
            await asyncio.sleep(0.02)

        assert two.strip() in data["client-ca-file"]
        assert two.strip() in trusted[-1]
        assert (await ask(server, "/version", "file")).status == 401
        assert (await ask(server, "/version", "other")).status == 200

"""A server process, on the event loop that users get, calls others over TLS: a webhook that converts, a server behind
it, a provider of identities. Each is trusted by the CA that was named, and no longer with another one."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from tests.faults.servers import Answer, ServerProcess
from tests.server.auth.tlsserver import Asked, TlsServer, listening, server_of
from tests.server.custom.definitions import CRDS, GROUP, THINGS, Object, definition, thing, version
from tests.server.custom.test_conversion import NEWER, ONE, TWO, answer
from tests.server.webhookserver import WebhookServer, webhook_server
from timonel.aio.clock import SystemClock
from timonel.distro.pki import Authority
from timonel.server.auth import jwt, oidc

pytestmark = pytest.mark.looptime(False)

API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
SERVICES = "/api/v1/namespaces/default/services"
WIDGETS = "/apis/acme.io/v1"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MERGE = "application/merge-patch+json"


def stranger(folder: Path) -> str:
    """A CA that has signed nothing of what is called here."""
    return Authority(folder / "stranger", now=SystemClock().now()).pem


def bundle(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


async def until(ask: Any, wanted: int) -> Answer:
    """What `ask` answers, once that has this status: settings take a moment to apply."""
    for _ in range(100):
        found: Answer = await asyncio.to_thread(ask)
        if found.status == wanted:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"status {found.status}: {found.body}")


async def hung_up() -> None:
    """Connections whose handshake came to nothing are gone by then."""
    await asyncio.sleep(0.3)


async def test_a_webhook_converts_as_long_as_its_ca_is_the_one_named(tmp_path: Path) -> None:
    def conversion(client: Object) -> Object:
        webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
        return {"strategy": "Webhook", "webhook": webhook}

    async def talk(server: ServerProcess, hook: WebhookServer) -> tuple[Answer, Answer, Answer]:
        client = hook.client_config("/convert")
        versions = (version("v1", spec=ONE), version("v2", storage=False, spec=TWO))
        crd = definition("things", "Thing", *versions, conversion=conversion(client))
        made = await asyncio.to_thread(server.send, "POST", CRDS, crd)
        assert made.status == 201, made.body
        a = thing("a", spec={"address": "x:80"})
        await until(lambda: server.send("POST", THINGS, a), 201)
        read = await asyncio.to_thread(server.send, "GET", f"{NEWER}/a")
        change = {"spec": {"conversion": conversion(client | {"caBundle": bundle(stranger(tmp_path))})}}
        path = f"{CRDS}/things.{GROUP}"
        changed = await asyncio.to_thread(server.send, "PATCH", path, change, MERGE)
        assert changed.status == 200, changed.body
        refused = await until(lambda: server.send("GET", f"{NEWER}/a"), 500)
        return read, refused, await asyncio.to_thread(server.send, "GET", f"{THINGS}/a")

    server = ServerProcess(tmp_path / "data")
    await asyncio.to_thread(server.up)
    try:
        async with webhook_server(tmp_path / "pki", answer) as hook:
            read, refused, stored = await talk(server, hook)
            await hung_up()
    finally:
        await asyncio.to_thread(server.down)

    assert (read.status, read.body["spec"]) == (200, {"host": "x", "port": "80"})
    assert refused.body["message"].startswith(f"conversion webhook for {GROUP}/v1, Kind=Thing failed: ")
    assert "x509: certificate signed by unknown authority" in refused.body["message"]
    assert (stored.status, stored.body["spec"]) == (200, {"address": "x:80"})
    assert "Traceback" not in server.log


def api_service(port: int, ca: str) -> Object:
    where = {"namespace": "default", "name": "widgets", "port": port}
    spec = {"group": "acme.io", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 1}
    return {"metadata": {"name": "v1.acme.io"}, "spec": {**spec, "service": where, "caBundle": bundle(ca)}}


async def test_a_server_behind_answers_as_long_as_its_ca_is_the_one_named(tmp_path: Path) -> None:
    def serve(asked: Asked) -> tuple[int, Any]:
        if asked.path == WIDGETS:
            named = {"name": "widgets", "singularName": "widget", "namespaced": False, "kind": "Widget"}
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "acme.io/v1"}
            return 200, {**listed, "resources": [{**named, "verbs": ["get"]}]}
        if asked.path.startswith(f"{WIDGETS}/widgets/"):
            return 200, {"kind": "Widget", "user": asked.header("x-remote-user")}
        return 404, {}

    backend = server_of(serve, tmp_path / "backend", now=SystemClock().now())
    server = ServerProcess(tmp_path / "data")
    await asyncio.to_thread(server.up)
    try:
        async with listening(backend):
            service = {
                "metadata": {"name": "widgets"},
                "spec": {"type": "ExternalName", "externalName": "localhost"},
            }
            await asyncio.to_thread(server.send, "POST", SERVICES, service)
            registered = api_service(backend.port, backend.ca)
            made = await asyncio.to_thread(server.send, "POST", API_SERVICES, registered)
            assert made.status == 201, made.body
            read = await until(lambda: server.send("GET", f"{WIDGETS}/widgets/a"), 200)
            change = {"spec": {"caBundle": bundle(stranger(tmp_path))}}
            path = f"{API_SERVICES}/v1.acme.io"
            await asyncio.to_thread(server.send, "PATCH", path, change, MERGE)
            before = len([a for a in backend.asked if a.path.startswith(f"{WIDGETS}/widgets/")])
            refused = await until(lambda: server.send("GET", f"{WIDGETS}/widgets/a"), 503)
            after = len([a for a in backend.asked if a.path.startswith(f"{WIDGETS}/widgets/")])
            await hung_up()
    finally:
        await asyncio.to_thread(server.down)

    assert read.body == {"kind": "Widget", "user": "admin"}
    assert "x509: certificate signed by unknown authority" in str(refused.body) or (
        "service unavailable" in str(refused.body)
    )
    assert after == before, "who is not trusted was asked nothing"
    assert "Traceback" not in server.log


def with_provider(folder: Path, provider: TlsServer, ca: str) -> ServerProcess:
    folder.mkdir()
    file = folder / "provider.crt"
    file.write_text(ca)
    flags = {"oidc-issuer-url": provider.url, "oidc-client-id": "me", "oidc-ca-file": str(file)}
    flags["oidc-signing-algs"] = "ES256"
    options = [f"--apiserver-arg={name}={value}" for name, value in flags.items()]
    return ServerProcess(folder / "data", options=tuple(options))


async def test_a_provider_names_users_as_long_as_its_ca_is_the_one_named(tmp_path: Path) -> None:
    keys, now = jwt.Keys(jwt.new_key()), SystemClock().now()

    def serve(asked: Asked) -> tuple[int, Any]:
        if asked.path == oidc.WELL_KNOWN:
            return 200, {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"}
        return 200, keys.jwks()

    provider = server_of(serve, tmp_path / "provider", now=now)

    def who(server: ServerProcess, token: str) -> Answer:
        with server.connect(token=token) as connection:
            return connection.send("POST", REVIEWS, {})

    async def asked(server: ServerProcess, token: str, wanted: int) -> Answer:
        await asyncio.to_thread(server.up)
        try:
            return await until(lambda: who(server, token), wanted)
        finally:
            await asyncio.to_thread(server.down)

    async with listening(provider):
        claims = {"iss": provider.url, "aud": "me", "sub": "ann", "exp": int(now) + 3600}
        token = keys.sign(claims)
        known = await asked(with_provider(tmp_path / "trusting", provider, provider.ca), token, 201)
        before = len(provider.asked)
        other = with_provider(tmp_path / "doubting", provider, stranger(tmp_path))
        refused = await asked(other, token, 401)
        await hung_up()

    assert known.body["status"]["userInfo"]["username"] == f"{provider.url}#ann"
    assert refused.body["reason"] == "Unauthorized"
    assert len(provider.asked) == before, "who is not trusted was asked nothing"
    assert "Traceback" not in other.log

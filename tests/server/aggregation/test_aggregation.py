"""A server behind the API server, over TLS: what it is told, what clients see of it, what happens when it is down."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.server.auth.tlsserver import Asked, TlsServer, listening, server_of
from tests.server.starting import ADMIN, SCHEME, send
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import discover
from timonel.client.transport import Resource
from timonel.distro import pki
from timonel.machinery import errors
from timonel.objects.meta import Key
from timonel.server.aggregation import watcher
from timonel.server.app import ApiServer
from timonel.server.auth import jwt
from timonel.server.compose import Settings, compose
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

GROUP = "/apis/acme.io/v1"
LIST = {
    "kind": "APIResourceList",
    "groupVersion": "acme.io/v1",
    "resources": [
        {"name": "widgets", "singularName": "widget", "namespaced": True, "kind": "Widget", "verbs": ["get"]}
    ],
}


def answer(asked: Asked) -> tuple[int, Any]:
    match asked.path.partition("?")[0]:
        case "/apis/acme.io/v1":
            return 200, LIST
        case "/openapi/v3":
            return 200, {
                "paths": {"apis/acme.io/v1": {"serverRelativeURL": "/openapi/v3/apis/acme.io/v1?hash=1"}}
            }
        case "/openapi/v3/apis/acme.io/v1":
            return 200, {"openapi": "3.0.0"}
        case "/openapi/v2":
            return 200, {"paths": {"/apis/acme.io/v1/widgets": {}}, "definitions": {"io.acme.Widget": {}}}
        case "/apis/acme.io/v1/line":
            return 101, b""
        case path if path.startswith("/apis/acme.io/v1/"):
            return 418, {"teapot": path}
    return 404, {}


class World:
    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        proxies = pki.Authority(folder / "proxies", now=clock.now(), name="front-proxy-ca")
        self.proxy = proxies.client("front-proxy-client", user="front-proxy-client")
        self.backend: TlsServer = server_of(answer, folder / "backend", now=clock.now(), clients=proxies.pem)
        tokens = {"secret": ADMIN, "bobs": User("bob", ("devs", "ops"), "7", {"example.com/a b": ("ü",)})}
        security = SecuritySettings(
            keys=jwt.Keys(jwt.new_key()), static_tokens=tokens, identify=self._identify
        )
        self.server: ApiServer = compose(
            Settings(security), store=MemoryStore(), scheme=SCHEME, clock=clock, tls=None
        )

    def _identify(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self.proxy.certificate, self.proxy.key)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return await send(self.server, method, path, body, **more)

    async def register(self, **spec: Any) -> None:
        service = {
            "metadata": {"name": "widgets"},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }
        await self.ask("POST", "/api/v1/namespaces/default/services", service)
        where = {"namespace": "default", "name": "widgets", "port": self.backend.port}
        full = {"group": "acme.io", "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 1}
        obj = {"metadata": {"name": "v1.acme.io"}, "spec": {**full, "service": where, **spec}}
        made = await self.ask("POST", "/apis/apiregistration.k8s.io/v1/apiservices", obj)
        assert made.status == 201, made.body

    async def until(self, reason: str) -> Any:
        """The Available condition, once it has this reason."""
        for _ in range(1000):
            found = await self.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.io")
            status = found.body.get("status", {}) if found.status == 200 else {}
            conditions = status.get("conditions") or [{}]
            if conditions[0].get("reason") == reason:
                return conditions[0]
            await asyncio.sleep(0.02)
        raise AssertionError(f"{reason} never came, but {conditions}")

    async def until_documented(self) -> None:
        """All its documents have been read, each on a connection of its own."""
        wanted = {"/apis/acme.io/v1", "/openapi/v3", "/openapi/v2"}
        for _ in range(1000):
            if wanted <= {asked.path for asked in self.backend.asked}:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"only {[asked.path for asked in self.backend.asked]} were read")

    async def until_listed(self, reason: str) -> None:
        for _ in range(1000):
            found = await self.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.io")
            conditions = found.body.get("status", {}).get("conditions") or ()
            if any(c.get("reason") == reason for c in conditions):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{reason} never came, but {conditions}")

    @property
    def bundle(self) -> str:
        return base64.b64encode(self.backend.ca.encode()).decode()


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder)
    async with listening(made.backend), running(made.server):
        yield made


async def test_requests_go_to_the_server_with_who_asks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(caBundle=w.bundle)
        await w.until("Passed")
        rules = [{"verbs": ["*"], "apiGroups": ["acme.io"], "resources": ["*"]}]
        role = {"metadata": {"name": "w"}, "rules": rules}
        await w.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
        binding = {
            "metadata": {"name": "w"},
            "roleRef": {"kind": "ClusterRole", "name": "w", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        await w.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)

        found = await w.ask(
            "PATCH",
            f"{GROUP}/namespaces/shop/widgets/one?dryRun=All",
            b"[1]",
            token="bobs",
            X_Remote_User="admin",
            X_Remote_Group="system:masters",
            X_Forwarded_For="192.0.2.1",
        )

        assert (found.status, found.body) == (418, {"teapot": f"{GROUP}/namespaces/shop/widgets/one"})
        (asked,) = (a for a in w.backend.asked if a.method == "PATCH")
        assert (asked.method, asked.path.partition("?")[2], asked.body) == ("PATCH", "dryRun=All", b"[1]")
        remote = [(k, v) for k, v in asked.headers if k.lower().startswith("x-remote-")]
        assert remote == [
            ("X-Remote-User", "bob"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Group", "devs"),
            ("X-Remote-Group", "ops"),
            ("X-Remote-Group", "system:authenticated"),
            ("X-Remote-Extra-example.com%2Fa%20b", "ü".encode().decode("latin-1")),
        ]
        assert asked.header("x-forwarded-for") == "192.0.2.1, 127.0.0.1"
        assert asked.header("authorization") == ""
        assert (await w.ask("GET", f"{GROUP}/widgets", token="")).status == 403


async def test_connections_are_kept_and_opened_again_when_the_server_closed_them(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(caBundle=w.bundle)
        await w.until("Passed")
        await w.until_documented()
        assert (await w.ask("GET", f"{GROUP}/widgets/a")).status == 418
        before = len(w.backend.connections)

        answers = [await w.ask(method, f"{GROUP}/widgets/a", b"[]") for method in ("GET", "PATCH", "PUT")]
        opened = len(w.backend.connections) - before
        for connection in w.backend.connections:
            connection.close()
        again = await w.ask("GET", f"{GROUP}/widgets/a")

        assert [each.status for each in (*answers, again)] == [418] * 4
        assert opened == 0
        asked = [a for a in w.backend.asked if a.path == f"{GROUP}/widgets/a"]
        assert not any(a.header("connection") for a in asked)


async def test_an_upgraded_connection_is_relayed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(caBundle=w.bundle)
        await w.until("Passed")
        reader, writer = await asyncio.open_connection("127.0.0.1", w.server.port)
        lines = [f"GET {GROUP}/line HTTP/1.1", "Host: x", "Authorization: Bearer secret"]
        lines += ["Connection: Upgrade", "Upgrade: shout"]
        writer.write("\r\n".join([*lines, "", "hello"]).encode())

        head = await reader.readuntil(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(5) == b"HELLO"
        writer.write(b"again")
        assert await reader.readexactly(5) == b"AGAIN"
        writer.close()


async def test_what_the_server_serves_is_published(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        before = (await w.ask("GET", "/apis")).body["groups"]
        await w.register(caBundle=w.bundle)
        await w.until("Passed")
        for _ in range(1000):
            aggregated = await w.ask(
                "GET", "/apis", Accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            )
            text = aggregated.body if isinstance(aggregated.body, dict) else {}
            (version,) = next(i for i in text["items"] if i["metadata"].get("name") == "acme.io")["versions"]
            if version["freshness"] == "Current":
                break
            await asyncio.sleep(0.02)
        assert version["resources"][0]["resource"] == "widgets"

        groups = [g["name"] for g in (await w.ask("GET", "/apis")).body["groups"]]
        assert groups == [*(g["name"] for g in before), "acme.io"]
        assert (await w.ask("GET", "/apis/acme.io")).body["preferredVersion"]["version"] == "v1"
        assert (await w.ask("GET", GROUP)).body == LIST
        index = (await w.ask("GET", "/openapi/v3")).body["paths"]
        assert "hash=1" in index["apis/acme.io/v1"]["serverRelativeURL"]
        assert (await w.ask("GET", "/openapi/v3/apis/acme.io/v1")).body == {"openapi": "3.0.0"}
        v2 = (await w.ask("GET", "/openapi/v2")).body
        assert "/apis/acme.io/v1/widgets" in v2["paths"]


async def test_a_server_that_cannot_be_trusted_gets_nothing(tmp_path: Path) -> None:
    other = pki.Authority(tmp_path / "other", now=SystemClock().now())
    async with world(tmp_path) as w:
        await w.register(caBundle=base64.b64encode(other.pem.encode()).decode())
        await w.until("Passed")  # the check says nothing secret, and trusts anybody
        w.backend.asked.clear()

        found = await w.ask("GET", f"{GROUP}/widgets")

        assert found.status == 503
        assert found.body.startswith(
            "error trying to reach service: tls: failed to verify certificate: x509:"
        )
        assert not [a for a in w.backend.asked if a.path == f"{GROUP}/widgets"]


async def test_insecure_is_as_said(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(insecureSkipTLSVerify=True)
        await w.until("Passed")

        assert (await w.ask("GET", f"{GROUP}/widgets")).status == 418


async def test_a_server_that_is_down_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "FIRST_RETRY", 0.05)
    made = World(tmp_path)
    async with running(made.server):
        async with listening(made.backend):
            pass  # now it has a port, where nobody listens
        await made.register(caBundle=made.bundle)
        condition = await made.until("FailedDiscoveryCheck")

        assert condition["message"].startswith(
            f"failing or missing response from https://localhost:{made.backend.port}{GROUP}: "
        )
        found = await made.ask("GET", f"{GROUP}/widgets")
        assert (found.status, found.body) == (503, "service unavailable\n")
        groups = [g["name"] for g in (await made.ask("GET", "/apis")).body["groups"]]
        assert "acme.io" not in groups
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        items = (await made.ask("GET", "/apis", Accept=aggregated)).body["items"]
        (acme,) = (i for i in items if i["metadata"].get("name") == "acme.io")
        assert acme["versions"] == [{"version": "v1", "freshness": "Stale"}]
        assert (await made.ask("GET", "/api/v1/namespaces/default")).status == 200

        async with listening(made.backend):
            await made.until("Passed")
            assert (await made.ask("GET", f"{GROUP}/widgets")).status == 418


async def test_conditions_follow_services(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(insecureSkipTLSVerify=True)
        await w.until("Passed")

        await w.ask("DELETE", "/api/v1/namespaces/default/services/widgets")
        assert (await w.until("ServiceNotFound"))["message"] == 'service/widgets in "default" is not present'

        await w.ask("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.io")
        found = await w.ask("GET", f"{GROUP}/widgets")
        assert (found.status, found.body) == (404, "404 page not found\n")


async def test_nobody_else_says_what_is_available(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(insecureSkipTLSVerify=True)
        await w.until("Passed")
        forged = {"type": "Available", "status": "False", "reason": "Forged"}
        own = {"type": "Own", "status": "True"}
        for conditions in ([], [own], [forged]):
            path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.io/status"
            patch = {"status": {"conditions": conditions}}
            merge = "application/merge-patch+json"
            assert (await w.ask("PATCH", path, patch, Content_Type=merge)).status == 200

            await w.until_listed("Passed")


async def test_own_groups_have_api_services(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for _ in range(1000):
            listed = (await w.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices")).body["items"]
            known = {i["metadata"]["name"]: i for i in listed}
            if "v1.storage.k8s.io" in known and known["v1.storage.k8s.io"].get("status", {}).get(
                "conditions"
            ):
                break
            await asyncio.sleep(0.02)

        apps = known["v1.apps"]
        assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        assert apps["spec"] == {
            "group": "apps",
            "version": "v1",
            "groupPriorityMinimum": 17800,
            "versionPriority": 15,
        }
        assert known["v1.storage.k8s.io"]["status"]["conditions"][0]["reason"] == "Local"
        assert "v1.apiregistration.k8s.io" not in known


async def test_groups_of_custom_resources_register_themselves(tmp_path: Path) -> None:
    definition = {
        "metadata": {"name": "widgets.acme.io"},
        "spec": {
            "group": "acme.io",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    one = "/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.io"
    async with world(tmp_path) as w:
        assert (await w.ask("POST", definitions, definition)).status == 201
        await w.until("Local")
        patch = {"spec": {"versionPriority": 5}}
        await w.ask("PATCH", one, patch, Content_Type="application/merge-patch+json")
        for _ in range(1000):
            found = await w.ask("GET", one)
            if found.body["spec"]["versionPriority"] == 100:
                break
            await asyncio.sleep(0.02)
        assert found.body["spec"]["versionPriority"] == 100

        await w.ask("DELETE", f"{definitions}/widgets.acme.io")
        for _ in range(1000):
            gone = await w.ask("GET", one)
            if gone.status == 404:
                break
            await asyncio.sleep(0.02)
        assert gone.status == 404


async def test_clients_in_the_process_reach_it_too(tmp_path: Path) -> None:
    one = {"metadata": {"name": "one", "namespace": "shop", "uid": "1"}}
    event = {"type": "ADDED", "object": one}

    def serve(asked: Asked) -> tuple[int, Any]:
        path, _, query = asked.path.partition("?")
        if path == GROUP:
            return 200, LIST
        if asked.method == "DELETE":
            status = {"kind": "Status", "reason": "Conflict", "message": "not so", "code": 409}
            return (409, status) if path.endswith("/one") else (200, {"kind": "Status"})
        if "watch=true" in query:
            return 200, json.dumps(event).encode() + b"\n"
        if path.endswith("/widgets"):
            return 200, {
                "kind": "WidgetList",
                "apiVersion": "acme.io/v1",
                "metadata": {"resourceVersion": "7"},
                "items": [one],
            }
        return 200, one

    widgets = Resource("acme.io", "v1", "widgets", namespaced=True)
    async with world(tmp_path) as w:
        w.backend.answer = serve
        await w.register(insecureSkipTLSVerify=True)
        await w.until("Passed")
        inside = w.server.transport_for(User("ann", ("system:masters",)))

        found = await inside.list(widgets, "shop")
        assert (found.resource_version, found.items) == (
            "7",
            [{"apiVersion": "acme.io/v1", "kind": "Widget", **one}],
        )
        assert [e.object async for e in inside.watch(widgets)] == [one]
        assert await inside.get(widgets, Key("shop", "one")) == one
        with pytest.raises(errors.Conflict, match="not so"):
            await inside.delete(widgets, Key("shop", "one"))
        await inside.delete_collection(widgets, "shop")
        asked = w.backend.asked[-1]
        assert (asked.method, asked.path) == ("DELETE", f"{GROUP}/namespaces/shop/widgets")
        assert asked.header("x-remote-user") == "ann"
        with pytest.raises(errors.Forbidden):
            await w.server.transport_for(User("tim")).list(widgets)


ODD: list[Any] = [
    b"",
    b"<html>",
    [],
    5,
    None,
    "text",
    {},
    {"items": 5},
    {"items": [5]},
    {"items": [{"metadata": 5}]},
    {"items": [{"metadata": {"name": "acme.io"}, "versions": 5}]},
    {"items": [{"metadata": {"name": "acme.io"}, "versions": [{"version": "v1", "resources": 5}]}]},
    {"groupVersion": 5, "resources": 5},
    {"groupVersion": "acme.io/v1", "resources": [5, {"name": "x"}, {"name": "y/z", "verbs": 5}]},
    {"paths": 5, "definitions": []},
]


@pytest.mark.parametrize("document", ODD)
async def test_a_server_may_say_anything_without_harm(tmp_path: Path, document: Any) -> None:
    async with world(tmp_path) as w:
        w.backend.answer = lambda asked: (200, b"null" if document is None else document)
        await w.register(insecureSkipTLSVerify=True)
        await w.until("Passed")
        for _ in range(1000):
            if any(a.path == "/openapi/v2" for a in w.backend.asked):
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        assert (await w.ask("GET", "/apis", Accept=aggregated)).status == 200
        for path in ("/apis", "/apis/acme.io", "/openapi/v3", "/openapi/v2", "/api/v1/pods"):
            assert (await w.ask("GET", path)).status == 200
        assert (await w.ask("GET", "/openapi/v3/apis/acme.io/v1")).status in (200, 503)

        inside, widgets = w.server.transport_for(ADMIN), Resource("acme.io", "v1", "widgets", namespaced=True)
        index = await discover(inside)
        assert index.find("pods").kind == "Pod"
        try:
            for item in (await inside.list(widgets)).items:
                assert item["metadata"]["name"]
            async for event in inside.watch(widgets):
                assert event.object["metadata"]["name"]
        except errors.StatusError:
            return


GARBAGE = [
    b"",
    b"\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 OK\r\n\r\n",
    b"HTTP/1.1 -5 x\r\n\r\n",
    b"SSH-2.0 200 OK\r\n\r\n",
    b"\xff" * 100_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
]


async def test_a_server_that_speaks_no_http_harms_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.register(insecureSkipTLSVerify=True)
        await w.until("Passed")
        for garbage in GARBAGE:
            w.backend.answer = lambda asked, garbage=garbage: (0, garbage)  # type: ignore[misc]
            with suppress(
                OSError, HTTPException
            ):  # what began as an answer breaks off, for the client as for us
                assert (await w.ask("GET", f"{GROUP}/widgets")).status in (200, 503)
            assert (await w.ask("GET", "/api/v1/pods")).status == 200
        w.backend.answer = lambda asked: (0, b"\r\n\r\n")
        await w.ask("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.acme.io")
        await w.register(insecureSkipTLSVerify=True)
        condition = await w.until("FailedDiscoveryCheck")
        assert condition["status"] == "False"


@pytest.mark.parametrize("host", ["a" * 63 + ".example.com", "localhost", "nowhere.invalid"])
async def test_what_goes_wrong_on_the_way_is_told(tmp_path: Path, host: str) -> None:
    async with world(tmp_path) as w:

        def broken(context: ssl.SSLContext) -> None:
            raise FileNotFoundError(2, "No such file", "client.crt")

        if host == "localhost":
            assert w.server._aggregator is not None
            w.server._aggregator.routes._backends._identify = broken
        spec = {"type": "ExternalName", "externalName": host}
        await w.ask(
            "POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "widgets"}, "spec": spec}
        )
        await w.register(insecureSkipTLSVerify=True)

        condition = await w.until("FailedDiscoveryCheck")

        assert condition["message"]
        assert (await w.ask("GET", "/api/v1/pods")).status == 200

"""The audit log of a running server: what is written for which request, and that it is written in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.starting import ADMIN, SCHEME, send
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import builtin
from timonel.server.app import ApiServer
from timonel.server.audit.settings import ConfigError, Settings, load
from timonel.server.auth import jwt
from timonel.server.compose import Settings as ComposeSettings
from timonel.server.compose import compose
from timonel.server.request import User
from timonel.server.security import Settings as SecuritySettings
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"


def policy(level: str, **more: Any) -> dict[str, Any]:
    """Of one rule, without what the server's own parts do."""
    own = {"level": "None", "users": ["system:apiserver"]}
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [own, {"level": level, **more}]}


@asynccontextmanager
async def audited(folder: Path, tree: dict[str, Any], **settings: Any) -> AsyncIterator[ApiServer]:
    file = folder / "policy.yaml"
    file.write_text(yaml.safe_dump(tree))
    security = SecuritySettings(
        keys=jwt.Keys(jwt.new_key()), static_tokens={"secret": ADMIN, "bobs": User("bob")}
    )
    made = compose(
        ComposeSettings(security, audit=Settings(str(file), log_path=str(folder / "audit.log"), **settings)),
        store=MemoryStore(),
        scheme=SCHEME,
        clock=SystemClock(),
        tls=None,
    )
    async with running(made):
        yield made


def written(folder: Path, **fields: str) -> list[dict[str, Any]]:
    file = folder / "audit.log"
    events = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [e for e in events if all(e.get(key) == value for key, value in fields.items())]


async def test_a_write_is_recorded_when_it_comes_and_when_it_is_answered(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("RequestResponse", verbs=["create"])) as server:
        sent = {"metadata": {"name": "a"}, "data": {"k": "v"}}
        answer = await send(server, "POST", f"{MAPS}?fieldManager=me", sent, User_Agent="test/1")

        received, complete = written(tmp_path)
        assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
        assert received["auditID"] == complete["auditID"] == answer.headers["audit-id"]
        assert complete["requestURI"] == f"{MAPS}?fieldManager=me"
        assert complete["verb"] == "create"
        assert (
            complete["user"] == {"username": "admin", "groups": ["system:masters"]}
            or complete["user"]["username"] == "admin"
        )
        assert complete["sourceIPs"] == ["127.0.0.1"]
        assert complete["userAgent"] == "test/1"
        assert complete["objectRef"] == {
            "resource": "configmaps",
            "namespace": "default",
            "name": "a",
            "apiVersion": "v1",
        }
        assert complete["responseStatus"] == {"metadata": {}, "code": 201}
        assert complete["requestObject"]["data"] == complete["responseObject"]["data"] == {"k": "v"}
        assert complete["annotations"]["authorization.k8s.io/decision"] == "allow"
        assert "requestObject" not in received


async def test_whatever_is_sent_can_be_recorded(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("RequestResponse")) as server:
        for number, body in enumerate(
            (b'{"metadata":{"name":"a"},"x":123456789012345678901234567890}', b'{"metadata":"\\ud800"}', b"[" * 2000,
             b"\xff\xfe", b"null", b'"text"', b"{}{}", b'{"metadata":{"name":["a"]}}')
        ):  # fmt: skip
            for method, path, kind in (
                ("POST", MAPS, "application/json"),
                ("PATCH", f"{MAPS}/a", "application/merge-patch+json"),
                ("PATCH", f"{MAPS}/a", "application/apply-patch+yaml"),
            ):
                await send(server, method, path, body, Content_Type=kind, Audit_ID=f"{kind}-{number}")
        answers = written(tmp_path, stage="ResponseComplete")

        assert not [e for e in answers if e["responseStatus"]["code"] >= 500]
        assert len({e["auditID"] for e in answers}) >= 24


async def test_a_refusal_is_recorded_with_its_reason(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata", users=["bob"])) as server:
        refused = await send(server, "GET", MAPS, token="bobs")

        assert refused.status == 403
        (complete,) = written(tmp_path, stage="ResponseComplete")
        assert complete["responseStatus"]["code"] == 403
        assert complete["responseStatus"]["reason"] == "Forbidden"
        assert complete["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert "responseObject" not in complete


async def test_wrong_credentials_are_recorded_without_a_user(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata")) as server:
        assert (await send(server, "GET", MAPS, token="wrong")).status == 401

        (event,) = written(tmp_path, requestURI=MAPS)
        assert event["stage"] == "ResponseStarted"
        assert event["responseStatus"]["message"] == "Authentication failed, attempted: bearer"
        assert event["user"] == {}


async def test_an_impersonated_user_stands_beside_who_sent_the_request(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata", verbs=["list"])) as server:
        await send(server, "GET", MAPS, Impersonate_User="carol")

        (complete,) = written(tmp_path, stage="ResponseComplete", requestURI=MAPS)
        assert complete["user"]["username"] == "admin"
        assert complete["impersonatedUser"]["username"] == "carol"


async def test_a_watch_is_recorded_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata", verbs=["watch"])) as server:
        await send(server, "GET", f"{MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0")

        found = [e["stage"] for e in written(tmp_path)]
        assert found == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_clients_within_the_process_are_recorded_too(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Request", users=["admin"])) as server:
        transport = server.transport_for(ADMIN)
        obj = {"metadata": {"name": "b", "namespace": "default"}}
        await transport.create(builtin().resource("configmaps"), obj)

        (complete,) = written(tmp_path, stage="ResponseComplete", verb="create")
        assert complete["objectRef"]["name"] == "b"
        assert complete["requestObject"]["metadata"]["name"] == "b"


async def test_an_audit_id_that_is_given_is_kept(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata", verbs=["list"])) as server:
        answer = await send(server, "GET", MAPS, Audit_ID="mine")

        assert answer.headers["audit-id"] == "mine"
        assert written(tmp_path, auditID="mine")


async def test_a_strict_log_that_cannot_be_written_stops_the_request(tmp_path: Path) -> None:
    (tmp_path / "audit.log").mkdir()
    tree = policy("Metadata", verbs=["create"])
    async with audited(tmp_path, tree, log_mode="blocking-strict") as server:
        refused = await send(server, "POST", MAPS, {"metadata": {"name": "a"}})
        found = await send(server, "GET", f"{MAPS}/a")

        assert (refused.status, found.status) == (500, 404)


async def test_a_log_in_batches_is_complete_when_the_server_has_ended(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata", verbs=["list"]), log_mode="batch") as server:
        await asyncio.sleep(0)
        await send(server, "GET", MAPS)

    assert written(tmp_path, stage="ResponseComplete", requestURI=MAPS)


async def test_a_webhook_gets_what_is_recorded(tmp_path: Path) -> None:
    got: list[dict[str, Any]] = []

    async def webhook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r")[0])
                got.append(json.loads(await reader.readexactly(length)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(webhook, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        kubeconfig = tmp_path / "webhook.kubeconfig"
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}/audit"}}],
                    "users": [{"name": "a", "user": {}}],
                    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                    "current-context": "a",
                }
            )
        )
        settings = {"webhook_file": str(kubeconfig), "webhook_mode": "blocking"}
        async with audited(tmp_path, policy("Metadata", verbs=["list"]), **settings) as server:
            await send(server, "GET", MAPS)
            stages = [event["stage"] for body in got for event in body["items"]]

    assert stages == ["RequestReceived", "ResponseComplete"]
    assert {body["kind"] for body in got} == {"EventList"}


def test_a_policy_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="failed to read file path"):
        load(str(tmp_path / "none.yaml"))

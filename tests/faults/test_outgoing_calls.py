"""A server process, on the event loop that users get, calls webhooks: one that answers, and one that is away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.faults.servers import ServerProcess
from tests.server.webhookserver import Object, WebhookServer, webhook_server

pytestmark = pytest.mark.looptime(False)

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
MAPS = "/api/v1/namespaces/default/configmaps"


async def verdict(path: str, review: Object) -> Object:
    name = review["request"]["object"]["metadata"]["name"]
    response = {"uid": review["request"]["uid"], "allowed": name != "refused"}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def configuration(client: Object, policy: str) -> Object:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    hook: Object = {
        "name": "names.example.com",
        "clientConfig": client,
        "rules": [rule],
        "failurePolicy": policy,
    }
    hook |= {"sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5}
    return {"metadata": {"name": "names"}, "webhooks": [hook]}


async def test_a_webhook_decides_and_its_failure_policy_where_it_is_away(tmp_path: Path) -> None:
    def create(server: ServerProcess, name: str) -> Any:
        return server.send("POST", MAPS, {"metadata": {"name": name}})

    def decided(server: ServerProcess, hooks: WebhookServer) -> tuple[list[int], str]:
        server.send("POST", CONFIGURATIONS, configuration(hooks.client_config(), "Fail"))
        answers = [create(server, "allowed"), create(server, "refused")]
        return [a.status for a in answers], answers[1].body["message"]

    def away(server: ServerProcess, policy: str) -> int:
        server.send("DELETE", f"{CONFIGURATIONS}/names")
        nowhere = {"url": "https://127.0.0.1:9/"}
        server.send("POST", CONFIGURATIONS, configuration(nowhere, policy))
        return int(create(server, f"while-away-{policy.lower()}").status)

    def started() -> ServerProcess:
        server = ServerProcess(tmp_path / "data")
        server.up()
        return server

    server = await asyncio.to_thread(started)
    try:
        async with webhook_server(tmp_path / "pki", verdict) as hooks:
            statuses, message = await asyncio.to_thread(decided, server, hooks)
        refused = await asyncio.to_thread(away, server, "Fail")
        ignored = await asyncio.to_thread(away, server, "Ignore")
    finally:
        await asyncio.to_thread(server.down)

    assert statuses == [201, 400]
    assert 'admission webhook "names.example.com" denied the request' in message
    assert (refused, ignored) == (500, 201)
    assert "Traceback" not in server.log

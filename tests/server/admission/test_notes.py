"""What webhooks, policies and pod security leave in the audit log and among the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.server.admission.test_policies import refusing
from tests.server.admission.test_webhooks import Bench, Reaction, added, allowed, bench_in, denied
from tests.server.audit.test_trail import audited, policy, written
from tests.server.starting import send
from tests.server.webhookserver import webhook_server

pytestmark = pytest.mark.looptime(False)

MAPS = "/api/v1/namespaces/default/configmaps"


def notes(folder: Path) -> dict[str, str]:
    event = written(folder, stage="ResponseComplete")[-1]
    found: dict[str, str] = event["annotations"]
    return found


@pytest.mark.parametrize(("level", "shows_patch"), [("Metadata", False), ("Request", True)])
async def test_webhooks_note_what_they_did(tmp_path: Path, level: str, shows_patch: bool) -> None:
    reactions: dict[str, Reaction] = {}

    async def answer(path: str, body: Any) -> Any:
        return reactions[path.partition("?")[0]](body["request"])

    async with webhook_server(tmp_path / "w", answer) as webhook, audited(tmp_path, policy(level)) as server:
        bench = Bench(server, webhook, reactions)
        gone: dict[str, Any] = {"clientConfig": {"url": "https://localhost:1/"}, "failurePolicy": "Ignore"}
        await bench.configure(
            "mutating", bench.hook("change", added("/data", {"a": "1"})), bench.hook("gone", **gone)
        )
        await bench.configure(
            "validating", bench.hook("note", lambda r: allowed(r, auditAnnotations={"seen": "yes"}))
        )

        await bench.post()

        found = notes(tmp_path)
    change = {"configuration": "a", "webhook": "change.hooks.example.com"}
    place = "webhook.admission.k8s.io/round_0_index_"
    assert json.loads(found[f"mutation.{place}0"]) == {**change, "mutated": True}
    assert json.loads(found[f"mutation.{place}1"])["mutated"] is False
    assert found[f"failed-open.mutation.{place}1"] == "gone.hooks.example.com"
    assert found["note.hooks.example.com/seen"] == "yes"
    assert (f"patch.{place}0" in found) is shows_patch
    if shows_patch:
        patch = [{"op": "add", "path": "/data", "value": {"a": "1"}}]
        assert json.loads(found[f"patch.{place}0"]) == {**change, "patch": patch, "patchType": "JSONPatch"}


async def test_policies_note_what_they_are_asked_to(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata")) as server:
        await refusing(
            server,
            {"expression": "true"},
            {"expression": "false", "message": "hm"},
            binding={"validationActions": ["Audit"]},
            auditAnnotations=[
                {"key": "size", "valueExpression": "'size is ' + string(object.data.size())"},
                {"key": "nothing", "valueExpression": "null"},
            ],
        )

        answer = await send(server, "POST", MAPS, {"metadata": {"name": "m"}, "data": {"a": "1"}})

        assert answer.status == 201
        found = notes(tmp_path)
    assert found["p/size"] == "size is 1"
    assert "p/nothing" not in found
    assert json.loads(found["validation.policy.admission.k8s.io/validation_failure"]) == [
        {
            "message": "hm",
            "policy": "p",
            "binding": "p-b",
            "expressionIndex": 1,
            "validationActions": ["Audit"],
        }
    ]


async def test_pod_security_notes_levels_and_violations(tmp_path: Path) -> None:
    async with audited(tmp_path, policy("Metadata")) as server:
        await send(
            server, "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}}
        )
        labels = {"metadata": {"labels": {"pod-security.kubernetes.io/audit": "restricted"}}}
        path = "/api/v1/namespaces/default"
        await send(server, "PATCH", path, labels, Content_Type="application/merge-patch+json")

        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await send(server, "POST", f"{path}/pods", pod)

        found = notes(tmp_path)
    assert found["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
    assert found["pod-security.kubernetes.io/audit-violations"].startswith(
        'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    )


async def test_calls_and_evaluations_are_counted(tmp_path: Path) -> None:
    async with bench_in(tmp_path) as bench:
        gone = bench.hook("gone", failurePolicy="Ignore") | {"clientConfig": {"url": "https://localhost:1/"}}
        await bench.configure("mutating", bench.hook("fine"), gone)
        await bench.configure("validating", bench.hook("no", lambda r: denied(r, code=409)))
        await bench.post()
        await send(
            bench.server, "DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/a"
        )
        await refusing(bench.server, {"expression": "false", "message": "hm"})
        await bench.post()

        text = (await send(bench.server, "GET", "/metrics")).body

    lines = [line for line in text.splitlines() if "admission_webhook" in line or "policy_check" in line]
    fine = 'name="fine.hooks.example.com",type="admit",operation="CREATE"'
    refused = 'name="no.hooks.example.com",type="validating",operation="CREATE"'
    prefix = "apiserver_admission_webhook"
    for wanted in (
        f'{prefix}_request_total{{{fine},code="200",rejected="false"}} 2',
        f'{prefix}_admission_duration_seconds_count{{{fine},rejected="false"}} 2',
        f'{prefix}_rejection_count{{{refused},error_type="no_error",rejection_code="409"}} 1',
        f'{prefix}_fail_open_count{{name="gone.hooks.example.com",type="admit"}} 2',
        'apiserver_validating_admission_policy_check_total{policy="p",policy_binding="p-b",error_type="no_error",'
        'enforcement_action="deny"} 1',
    ):
        assert wanted in lines

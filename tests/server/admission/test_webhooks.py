"""Admission webhooks behind a whole API server: what they are asked, what their answers do, what their failures do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.server.starting import Answer, send, started
from tests.server.webhookserver import WebhookServer, webhook_server
from timonel.server.app import ApiServer

pytestmark = pytest.mark.looptime(False)

Object = dict[str, Any]
GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
ALL_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
Reaction = Callable[[Object], Any]


def allowed(request: Object, **more: Any) -> Object:
    response = {"uid": request["uid"], "allowed": True, **more}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def patched(request: Object, *operations: Object) -> Object:
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return allowed(request, patch=patch, patchType="JSONPatch")


def denied(request: Object, **status: Any) -> Object:
    return allowed(request, allowed=False, status=status)


def added(path: str, value: Any) -> Reaction:
    return lambda request: patched(request, {"op": "add", "path": path, "value": value})


@dataclass
class Bench:
    """A server, and webhooks that react by path."""

    server: ApiServer
    webhook: WebhookServer
    reactions: dict[str, Reaction] = field(default_factory=dict)

    @property
    def requests(self) -> list[tuple[str, Object]]:
        return [(path.partition("?")[0], body["request"]) for path, body in self.webhook.requests]

    def hook(self, name: str, reaction: Reaction = allowed, **more: Any) -> Object:
        path = f"/{name}"
        self.reactions[path] = reaction
        return {
            "name": f"{name}.hooks.example.com",
            "clientConfig": self.webhook.client_config(path),
            "rules": [ALL_MAPS],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            **more,
        }

    async def configure(self, kind: str, *hooks: Object, name: str = "a") -> None:
        await self.create(
            f"{GROUP}/{kind}webhookconfigurations", {"metadata": {"name": name}, "webhooks": list(hooks)}
        )

    async def create(self, path: str, body: Object) -> Answer:
        answer = await send(self.server, "POST", path, body)
        assert answer.status == 201, answer.body
        return answer

    async def post(self, name: str = "m", query: str = "", **more: Any) -> Answer:
        return await send(self.server, "POST", MAPS + query, {"metadata": {"name": name}, **more})


@asynccontextmanager
async def bench_in(folder: Path, hosts: tuple[str, ...] = ("localhost", "127.0.0.1")) -> AsyncIterator[Bench]:
    async def answer(path: str, body: Object) -> Any:
        found = made.reactions[path.partition("?")[0]](body["request"])
        return await found if isinstance(found, Awaitable) else found

    async with webhook_server(folder, answer, hosts) as webhook, started() as server:
        made = Bench(server, webhook)
        yield made


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_in(tmp_path) as made:
        yield made


# ---- what is asked


async def test_a_webhook_is_asked_with_the_whole_request(bench: Bench) -> None:
    await bench.configure("validating", bench.hook("see"))

    answer = await bench.post(data={"a": "1"}, query="?fieldManager=me&dryRun=All")

    assert answer.status == 201, answer.body
    [(_, request)] = bench.requests
    assert request["kind"] == request["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (request["operation"], request["namespace"], request["name"]) == ("CREATE", "default", "m")
    assert (request["dryRun"], request["oldObject"]) == (True, None)
    assert request["object"]["data"] == {"a": "1"}
    assert request["object"]["kind"] == "ConfigMap"
    assert request["userInfo"] == {
        "username": "admin",
        "groups": ["system:masters", "system:authenticated"],
    }
    assert request["options"]["kind"] == "CreateOptions"
    assert request["options"]["fieldManager"] == "me"


async def test_updates_and_deletes_show_the_old_object(bench: Bench) -> None:
    await bench.post(data={"a": "1"})
    await bench.configure("validating", bench.hook("see"))

    await send(
        bench.server, "PATCH", f"{MAPS}/m", {"data": {"a": "2"}}, Content_Type="application/merge-patch+json"
    )
    await send(bench.server, "DELETE", MAPS)

    update, delete = (request for _, request in bench.requests)
    assert (update["operation"], delete["operation"]) == ("UPDATE", "DELETE")
    assert (update["oldObject"]["data"], update["object"]["data"]) == ({"a": "1"}, {"a": "2"})
    assert (delete["object"], delete["oldObject"]["data"], delete["name"]) == (None, {"a": "2"}, "m")


async def test_a_webhook_of_the_older_review_version_is_asked_in_it(bench: Bench) -> None:
    def old(request: Object) -> Object:
        return {"response": {"allowed": False, "status": {"message": "so old"}}}

    await bench.configure("validating", bench.hook("old", old, admissionReviewVersions=["v9", "v1beta1"]))

    answer = await bench.post()

    assert bench.webhook.requests[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"
    assert answer.body["message"] == 'admission webhook "old.hooks.example.com" denied the request: so old'


async def test_a_webhook_for_another_version_sees_that_version(bench: Bench) -> None:
    rule = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"]}
    hook = bench.hook("one", rules=[rule | {"resources": ["horizontalpodautoscalers"]}])
    await bench.configure("validating", hook)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    spec = {
        "maxReplicas": 3,
        "scaleTargetRef": target,
        "metrics": [{"type": "Resource", "resource": resource}],
    }

    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    await bench.create(path, {"metadata": {"name": "h"}, "spec": spec})

    [(_, request)] = bench.requests
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
    assert request["object"]["apiVersion"] == "autoscaling/v1"
    assert request["object"]["spec"]["targetCPUUtilizationPercentage"] == 70


async def test_an_exact_match_policy_sees_no_other_versions(bench: Bench) -> None:
    rule = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"]}
    hook = bench.hook("one", rules=[rule | {"resources": ["horizontalpodautoscalers"]}], matchPolicy="Exact")
    await bench.configure("validating", hook)
    spec = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}

    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    await bench.create(path, {"metadata": {"name": "h"}, "spec": spec})

    assert bench.requests == []


async def test_scaling_is_shown_as_a_scale_and_can_be_changed(bench: Bench) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1}
    path = "/apis/apps/v1/namespaces/default/deployments"
    await bench.create(path, {"metadata": {"name": "d"}, "spec": spec})
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["*/scale"]}
    hook = bench.hook("scale", added("/spec/replicas", 5), rules=[rule])
    await bench.configure("mutating", hook)

    answer = await send(
        bench.server,
        "PATCH",
        f"{path}/d/scale",
        {"spec": {"replicas": 9}},
        Content_Type="application/merge-patch+json",
    )

    [(_, request)] = bench.requests
    assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (request["resource"]["resource"], request["subResource"]) == ("deployments", "scale")
    assert request["object"]["spec"]["replicas"] == 9
    assert answer.body["spec"]["replicas"] == 5


@pytest.mark.parametrize(
    ("labels", "selector", "asked"),
    [
        ({"a": "b"}, {"objectSelector": {"matchLabels": {"a": "b"}}}, True),
        ({"a": "c"}, {"objectSelector": {"matchLabels": {"a": "b"}}}, False),
        ({}, {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({}, {"namespaceSelector": {"matchLabels": {"team": "x"}}}, False),
    ],
)
async def test_selectors_choose(bench: Bench, labels: Object, selector: Object, asked: bool) -> None:
    await bench.configure("validating", bench.hook("see", **selector))

    await send(bench.server, "POST", MAPS, {"metadata": {"name": "m", "labels": labels}})

    assert bool(bench.requests) is asked


async def test_configurations_themselves_are_not_shown_to_webhooks(bench: Bench) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    await bench.configure("validating", bench.hook("all", denied, rules=[rule]))

    answer = await send(bench.server, "DELETE", f"{GROUP}/validatingwebhookconfigurations/a")

    assert answer.status == 200


async def test_a_webhook_is_gone_with_its_configuration(bench: Bench) -> None:
    await bench.configure("validating", bench.hook("no", denied))
    await send(bench.server, "DELETE", f"{GROUP}/validatingwebhookconfigurations/a")

    assert (await bench.post()).status == 201
    assert bench.requests == []


# ---- what an answer does


async def test_a_refusal_names_the_webhook_and_takes_its_status(bench: Bench) -> None:
    await bench.configure(
        "validating", bench.hook("no", lambda r: denied(r, code=418, reason="Teapot", message="m"))
    )

    answer = await bench.post()

    text = 'admission webhook "no.hooks.example.com" denied the request: m'
    assert (answer.status, answer.body["reason"], answer.body["message"]) == (418, "Teapot", text)


async def test_a_refusal_without_words(bench: Bench) -> None:
    await bench.configure("validating", bench.hook("no", denied))

    answer = await bench.post()

    text = 'admission webhook "no.hooks.example.com" denied the request without explanation'
    assert (answer.status, answer.body["message"]) == (400, text)
    assert (await send(bench.server, "GET", f"{MAPS}/m")).status == 404


async def test_patches_are_applied_in_the_order_of_configurations(bench: Bench) -> None:
    await bench.configure("mutating", bench.hook("two", added("/data/x", "two")), name="b")
    await bench.configure("mutating", bench.hook("one", added("/data", {"x": "one"})), name="a")

    answer = await bench.post()

    assert answer.body["data"] == {"x": "two"}
    assert [path for path, _ in bench.requests] == ["/one", "/two"]


async def test_what_a_patch_makes_is_defaulted_and_validated(bench: Bench) -> None:
    await bench.configure("mutating", bench.hook("bad", added("/data", {"not a key!": "x"})))

    answer = await bench.post()

    assert (answer.status, answer.body["reason"]) == (422, "Invalid")


async def test_warnings_reach_the_client_once(bench: Bench) -> None:
    await bench.configure(
        "validating", bench.hook("w", lambda r: allowed(r, warnings=["careful", "careful"]))
    )

    answer = await bench.post()

    assert answer.headers["warning"] == '299 - "careful"'


async def test_a_webhook_that_wants_it_is_asked_again_after_others_changed_something(bench: Bench) -> None:
    first = bench.hook("first", added("/data", {"a": "1"}), reinvocationPolicy="IfNeeded")
    never = bench.hook("never", added("/data/b", "2"))
    last = bench.hook("last", reinvocationPolicy="IfNeeded")
    await bench.configure("mutating", first, never, last)

    answer = await bench.post()

    # `first` sees it again as `never` changed something after it; nothing was changed after `last` in the first round,
    # but `first` throws b away in the second
    assert [path for path, _ in bench.requests] == ["/first", "/never", "/last", "/first", "/last"]
    assert answer.body["data"] == {"a": "1"}


async def test_a_webhook_that_changes_nothing_asks_for_no_second_round(bench: Bench) -> None:
    await bench.configure("mutating", bench.hook("a", reinvocationPolicy="IfNeeded"), bench.hook("b"))

    await bench.post()

    assert [path for path, _ in bench.requests] == ["/a", "/b"]


async def test_a_webhook_may_write_itself_and_be_asked_about_it(bench: Bench) -> None:
    async def writes(request: Object) -> Object:
        if request["name"] == "outer":
            await bench.post("inner")
        return allowed(request)

    await bench.configure("validating", bench.hook("writes", writes))

    assert (await bench.post("outer")).status == 201
    assert [request["name"] for _, request in bench.requests] == ["outer", "inner"]


async def test_validating_webhooks_are_asked_at_once(bench: Bench) -> None:
    both = asyncio.Barrier(2)

    async def meets(request: Object) -> Object:
        async with asyncio.timeout(5):
            await both.wait()
        return allowed(request)

    await bench.configure("validating", bench.hook("a", meets), bench.hook("b", meets))

    assert (await bench.post()).status == 201


# ---- what a failure does


async def slow(request: Object) -> Object:
    await asyncio.sleep(3)
    return allowed(request)


FAULTS: dict[str, tuple[Reaction, str]] = {
    "slow": (
        slow,
        'failed to call webhook: Post "https://localhost:PORT/x?timeout=1s": context deadline exceeded',
    ),
    "500": (
        lambda r: (500, b"oops"),
        'failed to call webhook: an error on the server ("oops") has prevented the request from succeeding',
    ),
    "huge": (
        lambda r: (200, b"x" * (17 << 20)),
        'failed to call webhook: Post "https://localhost:PORT/x?timeout=1s": the answer is larger than 16777216 bytes',
    ),
    "empty": (
        lambda r: {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"},
        "received invalid webhook response: webhook response was absent",
    ),
    "uid": (
        lambda r: allowed({"uid": "x"}),
        'received invalid webhook response: expected response.uid="UID", got "x"',
    ),
    "kind": (
        lambda r: {"response": {"uid": r["uid"], "allowed": True}},
        "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, "
        "got /, Kind=",
    ),
    "patch type": (
        lambda r: allowed(r, patch="W10="),
        "received invalid webhook response: webhook returned response.patch but not response.patchType",
    ),
    "undecodable patch": (
        lambda r: allowed(r, patch="e30=", patchType="JSONPatch"),
        "received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type "
        "jsonpatch.Patch",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failing_webhook_refuses_unless_it_fails_open(bench: Bench, fault: str) -> None:
    reaction, text = FAULTS[fault]
    await bench.configure("mutating", bench.hook("x", reaction, timeoutSeconds=1))

    answer = await bench.post()

    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    message = answer.body["message"].replace(f"localhost:{bench.webhook.port}", "localhost:PORT")
    if bench.requests:
        message = message.replace(bench.requests[0][1]["uid"], "UID")
    assert message == f'Internal error occurred: failed calling webhook "x.hooks.example.com": {text}'
    body = {"webhooks": [{"name": "x.hooks.example.com", "failurePolicy": "Ignore"}]}
    path = f"{GROUP}/mutatingwebhookconfigurations/a"
    await send(bench.server, "PATCH", path, body, Content_Type="application/strategic-merge-patch+json")
    assert (await bench.post()).status == 201


async def test_a_patch_that_does_not_fit_is_an_error_whatever_the_failure_policy(bench: Bench) -> None:
    def misses(request: Object) -> Object:
        return patched(request, {"op": "remove", "path": "/data/nothing"})

    await bench.configure("mutating", bench.hook("x", misses, failurePolicy="Ignore"))

    assert (await bench.post()).status == 500


async def test_a_webhook_that_nobody_serves(bench: Bench) -> None:
    config = {"service": {"namespace": "default", "name": "gone"}}
    await bench.configure("validating", bench.hook("x", clientConfig=config))

    answer = await bench.post()

    assert answer.body["message"] == (
        'Internal error occurred: failed calling webhook "x.hooks.example.com": failed to call webhook: Post '
        '"https://gone.default.svc:443/?timeout=10s": service "gone" not found'
    )


async def test_a_service_is_called_under_its_own_name(tmp_path: Path) -> None:
    async with bench_in(tmp_path, ("hook.default.svc",)) as bench:
        spec = {"type": "ExternalName", "externalName": "localhost"}
        await bench.create(
            "/api/v1/namespaces/default/services", {"metadata": {"name": "hook"}, "spec": spec}
        )
        service = {"namespace": "default", "name": "hook", "port": bench.webhook.port, "path": "/no"}
        hook = bench.hook("no", denied)
        await bench.configure(
            "validating", hook | {"clientConfig": {"service": service, "caBundle": bench.webhook.bundle}}
        )

        answer = await bench.post()

        text = 'admission webhook "no.hooks.example.com" denied the request without explanation'
        assert answer.body["message"] == text
        assert bench.webhook.headers[0]["host"] == f"hook.default.svc:{bench.webhook.port}"


async def test_a_delete_cannot_be_patched(bench: Bench) -> None:
    await bench.post()
    await bench.configure("mutating", bench.hook("x", added("/data", {})))

    answer = await send(bench.server, "DELETE", f"{MAPS}/m")

    assert answer.body["message"] == (
        'Internal error occurred: admission webhook "x.hooks.example.com" attempted to modify the object, which is not '
        "supported for this operation"
    )


async def test_a_connection_to_a_pod_can_be_refused(bench: Bench) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    account = {"metadata": {"name": "default"}}
    await bench.create("/api/v1/namespaces/default/serviceaccounts", account)
    await bench.create("/api/v1/namespaces/default/pods", pod)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/exec"]}
    await bench.configure("validating", bench.hook("no", denied, rules=[rule]))

    path = "/api/v1/namespaces/default/pods/p/exec?command=ls&command=-l&stdout=1&container=c"
    answer = await send(bench.server, "POST", path)

    [(_, request)] = bench.requests
    assert request["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
    assert request["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdout": True,
        "container": "c",
        "command": ["ls", "-l"],
    }
    assert answer.status == 400


async def test_an_eviction_is_shown_as_what_it_is(bench: Bench) -> None:
    await bench.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await bench.create("/api/v1/namespaces/default/pods", pod)
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods/eviction"],
    }
    await bench.configure("validating", bench.hook("no", denied, rules=[rule]))

    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    answer = await send(bench.server, "POST", "/api/v1/namespaces/default/pods/p/eviction", body)

    [(_, request)] = bench.requests
    assert request["kind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    assert (request["resource"]["resource"], request["subResource"]) == ("pods", "eviction")
    assert answer.status == 400


async def test_too_many_warnings_are_cut(bench: Bench) -> None:
    texts = [f"{i}: {'x' * 400}" for i in range(40)]
    await bench.configure("validating", bench.hook("w", lambda r: allowed(r, warnings=texts)))
    connection = bench.server

    answer = await send(connection, "POST", MAPS, {"metadata": {"name": "m"}})

    assert answer.status == 201
    assert answer.headers["warning"] == f'299 - "{texts[15][:256]}"'  # the last of sixteen


async def test_managed_fields_that_a_webhook_breaks_are_put_back(bench: Bench) -> None:
    await bench.configure(
        "mutating", bench.hook("b", added("/metadata/managedFields/0/operation", "Nonsense"))
    )

    answer = await bench.post(data={"a": "1"})

    assert answer.headers["warning"].startswith(
        '299 - ".metadata.managedFields was in an invalid state after admission; '
    )
    assert answer.body["metadata"]["managedFields"][0]["operation"] == "Update"


ASKS = "authorizer.group('').resource('pods').check('create').allowed()"


@pytest.mark.parametrize(
    ("conditions", "policy", "asked", "refused"),
    [
        (["true", "oldObject == null"], "Fail", True, ""),
        (["true", "false"], "Fail", False, ""),
        (["object.missing == 'x'", "false"], "Fail", False, ""),
        (["object.missing == 'x'", "true"], "Ignore", False, ""),
        (
            ["object.missing == 'x'", "true"],
            "Fail",
            False,
            "expression 'object.missing == 'x'' resulted in error: no such key: missing",
        ),
        ([f"{ASKS} && {ASKS} && {ASKS}"], "Fail", False, "operation cancelled: actual cost limit exceeded"),
        (
            [f"{ASKS} && {ASKS}"] * 8,
            "Fail",
            False,
            "validation failed due to running out of cost budget, no further validation rules will be run",
        ),
    ],
)
async def test_match_conditions(
    bench: Bench, conditions: list[str], policy: str, asked: bool, refused: str
) -> None:
    named = [{"name": f"c{i}", "expression": text} for i, text in enumerate(conditions)]
    hook = bench.hook("see", matchConditions=named, failurePolicy=policy)
    await bench.configure("mutating", hook)
    await bench.configure("validating", hook)

    answer = await bench.post()

    assert len(bench.requests) == 2 * asked
    if refused:
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
        assert answer.body["message"].startswith('configmaps "m" is forbidden: ')
        assert answer.body["message"].endswith(refused)
    else:
        assert answer.status == 201

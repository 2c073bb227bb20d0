"""What the server stores has the form that its codec gives it: patches need not look at what they leave alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.apis.examples import BODIES
from tests.server.starting import ADMIN, started
from timonel.client.transport import Resource, Transport
from timonel.objects.meta import Key, Object
from timonel.server.app import ApiServer
from timonel.server.registry import Endpoint

PODS = Resource("", "v1", "pods", True)
KEY = Key("default", "p")
POD: Object = {
    "metadata": {"name": "p", "namespace": "default", "labels": {"app": "web"}},
    "spec": {
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}],
        "automountServiceAccountToken": False,
    },
}
REFUSED_UNDER_THIS_NAME = {"Binding", "APIService", "IPAddress"}


def is_normal(endpoint: Endpoint, obj: Object) -> bool:
    return endpoint.machinery.normalize(obj) == (obj, [])


def status(condition: Object) -> Object:
    return {"status": {"conditions": [condition]}}


async def make_default_account(transport: Transport) -> None:
    account = {"metadata": {"name": "default", "namespace": "default"}}
    await transport.create(Resource("", "v1", "serviceaccounts", True), account)


async def test_what_is_created_is_in_its_normal_form() -> None:
    async with started() as api:
        transport = api.transport_for(ADMIN)
        seen = 0
        for endpoint in list(api.registry.served()):
            rtype = endpoint.rtype
            body = BODIES.get(f"{rtype.api_version}/{rtype.kind}")
            if body is None or not endpoint.has_codec or "create" not in rtype.verbs:
                continue
            if rtype.kind in REFUSED_UNDER_THIS_NAME:
                continue
            metadata: dict[str, Any] = {"name": "a", "labels": {"a": "b"}, "annotations": {"x": "y"}}
            if rtype.namespaced:
                metadata["namespace"] = "default"
            resource = Resource(rtype.group, rtype.version, rtype.plural, rtype.namespaced)
            await transport.create(resource, {**body, "metadata": {**body.get("metadata", {}), **metadata}})
        for endpoint in api.registry.served():
            for entry in endpoint.cache.entries.values() if endpoint.has_codec else ():
                assert is_normal(endpoint, entry.decoded()), entry.key
                seen += 1
        assert seen > len(BODIES) / 2


async def pod_entry(api: ApiServer) -> Any:
    endpoint = api.registry.by_qualified["pods"]
    return endpoint, await api.registry.read(endpoint, "default", "p")


async def test_a_pod_stays_in_its_normal_form_until_it_is_gone() -> None:
    async with started() as api:
        transport = api.transport_for(ADMIN)
        await make_default_account(transport)
        await transport.create(Resource("", "v1", "nodes", False), {"metadata": {"name": "n"}})
        made = await transport.create(PODS, POD)
        condition = {"type": "DisruptionTarget", "status": "True", "lastProbeTime": None}
        binding = {"metadata": {"name": "p", "namespace": "default"}, "target": {"kind": "Node", "name": "n"}}
        steps: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: transport.patch(
                PODS, KEY, status({**condition, "status": "False"}), kind="strategic", subresource="status"
            ),
            lambda: transport.create(PODS, binding, name="p", subresource="binding"),
            lambda: transport.patch(PODS, KEY, status(condition), kind="strategic", subresource="status"),
            lambda: transport.patch(PODS, KEY, {"metadata": {"labels": {"app": None}}}),
        )
        for step in steps:
            await step()
            endpoint, entry = await pod_entry(api)
            assert entry.normal
            assert is_normal(endpoint, entry.decoded())

        found = await transport.get(PODS, KEY)
        assert found["spec"] == {**made["spec"], "nodeName": "n"}
        assert {c["type"]: c["status"] for c in found["status"]["conditions"]} == {
            "DisruptionTarget": "True",
            "PodScheduled": "True",
        }


async def test_a_patch_of_status_changes_no_older_state() -> None:
    async with started() as api:
        transport = api.transport_for(ADMIN)
        await make_default_account(transport)
        await transport.create(PODS, POD)
        _, before = await pod_entry(api)
        text = before.json()

        patch = {
            "metadata": {"labels": {"app": "other"}},
            "spec": {"nodeName": "elsewhere"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "message": "m"},
        }
        after = await transport.patch(PODS, KEY, patch, kind="strategic", subresource="status")

        assert before.json() == text
        assert "nodeName" not in after["spec"]
        assert after["metadata"]["labels"] == {"app": "other"}
        assert after["status"]["message"] == "m"

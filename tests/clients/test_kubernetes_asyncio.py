"""The asyncio twin of the official Python client."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes_asyncio import client, config, watch

from tests.clients.manifests import config_map, deployment

pytestmark = pytest.mark.looptime(False)  # real sockets


async def test_objects_and_watches(kubeconfig: Path) -> None:
    await config.load_kube_config(str(kubeconfig))
    async with client.ApiClient() as connection:
        core, apps = client.CoreV1Api(connection), client.AppsV1Api(connection)
        await core.create_namespaced_config_map("default", config_map(a="1"))
        patched = await core.patch_namespaced_config_map("settings", "default", {"data": {"b": "2"}})
        await apps.create_namespaced_deployment("default", deployment())
        ready = 0
        async with watch.Watch().stream(
            apps.list_namespaced_deployment, "default", timeout_seconds=20
        ) as found:
            async for event in found:
                ready = event["object"].status.ready_replicas or 0
                if ready == 2:
                    break
        with pytest.raises(client.ApiException) as error:
            await core.read_namespaced_pod("nope", "default")

    assert (patched.data, ready, error.value.status) == ({"a": "1", "b": "2"}, 2, 404)

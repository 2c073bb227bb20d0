"""pykube-ng: plain dictionaries over HTTP; its updates are JSON merge patches."""

from __future__ import annotations

from pathlib import Path

import pykube
import pytest

from tests.clients.manifests import config_map, deployment

# Connections of these clients live as long as their garbage.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> pykube.HTTPClient:
    return pykube.HTTPClient(pykube.KubeConfig.from_file(str(kubeconfig)))


def test_an_object_is_updated_patched_and_watched(api: pykube.HTTPClient) -> None:
    settings = pykube.ConfigMap(api, config_map(a="1"))
    settings.create()
    settings.obj["data"]["a"] = "2"
    settings.update()
    settings.patch({"data": {"b": "3"}})
    selected = pykube.ConfigMap.objects(api).filter(field_selector={"metadata.name": "settings"})
    first = next(iter(selected.watch()))
    settings.delete()

    assert first.type == "ADDED"
    assert first.object.obj["data"] == {"a": "2", "b": "3"}
    assert not settings.exists()


def test_a_deployment_is_scaled(api: pykube.HTTPClient) -> None:
    web = pykube.Deployment(api, deployment(replicas=1))
    web.create()
    for event in pykube.Deployment.objects(api).filter(namespace="default").watch():
        if event.object.obj["status"].get("readyReplicas") == 1:
            break
    web.reload()
    web.scale(3)

    assert web.replicas == 3
    assert api.version == ("1", "36")

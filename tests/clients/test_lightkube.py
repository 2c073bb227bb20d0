"""lightkube: models generated from the published API, server-side apply, waiting for conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightkube import Client, codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod

from tests.clients.manifests import deployment

# Connections of these clients live as long as their garbage.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_deployment_is_waited_for_and_scaled(kubeconfig: Path) -> None:
    client = Client()
    client.create(codecs.from_dict(deployment()))

    ready = client.wait(Deployment, "web", for_conditions=["Available"])
    scale = client.get(Deployment.Scale, "web")
    scale.spec.replicas = 1
    client.replace(scale, "web")
    pod = next(iter(client.list(Pod, labels={"app": "web"}))).metadata.name

    assert ready.status.readyReplicas == 2
    assert client.get(Deployment, "web").spec.replicas == 1
    assert "nothing runs here" in "".join(client.log(pod))


def test_apply_patch_and_watch(kubeconfig: Path) -> None:
    client = Client(field_manager="me")
    applied = ConfigMap(
        apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="settings"), data={"a": "1"}
    )

    client.apply(applied)
    patched = client.patch(ConfigMap, "settings", {"data": {"b": "2"}})
    event, seen = next(iter(client.watch(ConfigMap, fields={"metadata.name": "settings"})))
    client.delete(ConfigMap, "settings")

    assert patched.data == {"a": "1", "b": "2"}
    assert (event, seen.metadata.managedFields[0].manager) == ("ADDED", "me")

"""The official Python client: typed and dynamic, watches, logs, exec, leader election."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.stream import stream

from tests.clients.manifests import config_map, deployment, pod

CANDIDATE = str(Path(__file__).with_name("candidate_example.py"))

# Connections of these clients live as long as their garbage.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def core(kubeconfig: Path) -> Any:
    config.load_kube_config(str(kubeconfig))
    return client.CoreV1Api()


def test_a_deployment_becomes_ready_under_a_watch() -> None:
    apps = client.AppsV1Api()
    apps.create_namespaced_deployment("default", deployment())

    seen = []
    watching = watch.Watch()
    for event in watching.stream(apps.list_namespaced_deployment, "default", timeout_seconds=20):
        seen.append(event["type"])
        if event["object"].status.ready_replicas == 2:
            watching.stop()
    apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 1}})

    assert seen[0] == "ADDED"
    assert set(seen[1:]) <= {"MODIFIED"}
    assert apps.read_namespaced_deployment_scale("web", "default").spec.replicas == 1


def test_an_error_has_its_status(core: Any) -> None:
    with pytest.raises(client.ApiException) as error:
        core.read_namespaced_pod("nope", "default")

    assert error.value.status == 404
    assert '"reason":"NotFound"' in error.value.body


def test_lists_come_in_pages(core: Any) -> None:
    for number in range(5):
        core.create_namespaced_config_map("kube-public", {"metadata": {"name": f"page-{number}"}})

    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map("kube-public", limit=2, _continue=token)
        names += [found.metadata.name for found in page.items]
        token = page.metadata._continue or ""

    assert names == ["kube-root-ca.crt", *(f"page-{number}" for number in range(5))]


def test_the_dynamic_client() -> None:
    resources = dynamic.DynamicClient(client.ApiClient()).resources
    maps = resources.get(api_version="v1", kind="ConfigMap")

    maps.server_side_apply(body=config_map(a="1"), name="settings", namespace="default", field_manager="me")
    merge = "application/merge-patch+json"
    patched = maps.patch(name="settings", namespace="default", body={"data": {"b": "2"}}, content_type=merge)
    first = next(iter(maps.watch(namespace="default", name="settings", timeout=5)))
    maps.delete(name="settings", namespace="default")

    assert dict(patched.data) == {"a": "1", "b": "2"}
    assert (first["type"], first["object"].metadata.managedFields[0].manager) == ("ADDED", "me")


def test_logs_and_what_a_simulated_node_cannot_do(core: Any) -> None:
    core.create_namespaced_pod("default", pod("one"))
    watching = watch.Watch()
    for event in watching.stream(core.list_namespaced_pod, "default", timeout_seconds=20):
        if event["object"].metadata.name == "one" and event["object"].status.phase == "Running":
            watching.stop()

    text = core.read_namespaced_pod_log("one", "default")
    with pytest.raises(client.ApiException, match="there is no process to run a command in"):
        stream(core.connect_get_namespaced_pod_exec, "one", "default", command=["ls"], stdout=True)

    assert "main: nothing runs here, this node simulates its containers" in text


def test_leader_election(kubeconfig: Path) -> None:
    with subprocess.Popen([sys.executable, CANDIDATE], stdout=subprocess.PIPE, text=True) as candidate:
        assert candidate.stdout is not None
        said = candidate.stdout.readline()
        candidate.kill()

    assert said == "leading\n"

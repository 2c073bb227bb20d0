"""Faults on real containers, and bad input as people see it: through kubectl."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.system.conftest import RunningCluster

T = TypeVar("T")

PAUSE = "registry.k8s.io/pause:3.10"  # every node has it
LONG = "x" * 254


def eventually(look: Callable[[], T], *, seconds: float = 60) -> T:
    """The first true answer; errors of the cluster while it recovers are waited over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > deadline:
            assert found, "waited in vain"
            return found
        time.sleep(0.3)


def a_map(name: str = "kept", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}, **more}


def deployment(app: str = "web", replicas: Any = 0) -> dict[str, Any]:
    labels = {"app": app}
    spec = {"containers": [{"name": "main", "image": PAUSE}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def start_pod(cluster: RunningCluster, name: str, image: str = PAUSE) -> None:
    cluster.kubectl("run", name, f"--image={image}", "--restart=Always")


def container(cluster: RunningCluster, name: str) -> dict[str, Any]:
    statuses = cluster.get("pod", name)["status"].get("containerStatuses") or [{}]
    found: dict[str, Any] = statuses[0]
    return found


def node_folder(cluster: RunningCluster) -> Path:
    return next((cluster.folder / cluster.name / "nodes").iterdir())


def containerds(cluster: RunningCluster) -> list[int]:
    """The processes that run with the node's configuration, as the machine counts them."""
    config = str(node_folder(cluster) / "containerd" / "config.toml").encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
        except OSError:
            continue
        if config in words:
            found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def objects(cluster: RunningCluster) -> None:
    for obj in (a_map(), deployment()):
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(obj))


REFUSALS: list[tuple[str, str, str, str]] = [
    ("create -f -", "a: [", "", "error converting YAML to JSON: yaml: line 1: did not find expected node content"),
    ("create -f -", json.dumps(a_map("b", bogus=1)), "BadRequest",
     'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "bogus"'),
    ("create -f -", json.dumps(deployment(replicas="three")), "BadRequest",
     "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
    ("replace -f -", json.dumps(deployment("other")), "",
     'The Deployment "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is '
     "immutable"),
    ("create -f -", json.dumps(a_map(LONG)), "",
     f'The ConfigMap "{LONG}" is invalid: metadata.name: Invalid value: "{LONG}": must be no more than 253 '
     "characters"),
    ("create -f -", json.dumps(a_map("b", data={"a": "x" * (3 << 20)})), "RequestEntityTooLarge",
     "Request entity too large: limit is 3145728"),
    ('patch configmap kept --type json -p [{"op":"test","path":"/data/a","value":"c"}]', "", "",
     "The request is invalid: the server rejected our request due to an error in our request"),
    ("replace -f -", json.dumps(a_map(metadata={"name": "kept", "resourceVersion": "1"})), "Conflict",
     'Operation cannot be fulfilled on configmaps "kept": the object has been modified; please apply your changes '
     "to the latest version and try again"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "stdin", "reason", "message"), REFUSALS, ids=range(len(REFUSALS)))
def test_kubectl_shows_what_is_wrong_and_nothing_changes(
    cluster: RunningCluster, objects: None, command: str, stdin: str, reason: str, message: str
) -> None:
    before = cluster.get("configmaps,deployments")["items"]

    said = cluster.kubectl(*command.split(" "), stdin=stdin, check=False)

    assert message in said
    if reason:
        assert f"Error from server ({reason}): " in said
    assert cluster.get("configmaps,deployments")["items"] == before


def test_a_killed_containerd_is_started_again_and_its_containers_go_on(cluster: RunningCluster) -> None:
    start_pod(cluster, "lasting")
    eventually(lambda: container(cluster, "lasting").get("ready"))
    before = container(cluster, "lasting")
    [first] = containerds(cluster)

    os.kill(first, signal.SIGKILL)

    assert eventually(lambda: [pid for pid in containerds(cluster) if pid != first])
    start_pod(cluster, "later")
    eventually(lambda: container(cluster, "later").get("ready"))
    after = container(cluster, "lasting")
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], before["restartCount"])
    log = (node_folder(cluster) / "agent.log").read_text()
    assert "containerd ended, starting it again" in log
    assert "Traceback" not in log


def test_no_pod_is_stuck_whose_containers_were_being_made_when_containerd_was_killed(
    cluster: RunningCluster, objects: None
) -> None:
    cluster.kubectl("scale", "deployment", "web", "--replicas=10")
    for _ in range(3):
        time.sleep(0.4)
        for pid in containerds(cluster):
            os.kill(pid, signal.SIGKILL)

    def ready() -> int:
        found: int = cluster.get("deployment", "web")["status"].get("readyReplicas", 0)
        return found

    eventually(lambda: ready() == 10)
    cluster.kubectl("scale", "deployment", "web", "--replicas=0")
    eventually(lambda: not cluster.get("pods", "-l", "app=web")["items"])
    log = (node_folder(cluster) / "agent.log").read_text()
    assert "Traceback" not in log


def test_a_killed_agent_comes_back_alone(cluster: RunningCluster) -> None:
    pid_file = node_folder(cluster) / "agent.pid"
    first = int(pid_file.read_text().split()[0])
    assert b"agent" in Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")[:6]

    os.kill(first, signal.SIGKILL)

    eventually(lambda: int(pid_file.read_text().split()[0]) != first)
    start_pod(cluster, "latest")
    eventually(lambda: container(cluster, "latest").get("ready"))
    assert "Traceback" not in (node_folder(cluster) / "agent.log").read_text()
    assert "Traceback" not in (cluster.folder / cluster.name / "server.log").read_text()


def test_a_killed_server_is_missed_by_no_container_and_found_again_by_its_node(
    cluster: RunningCluster,
) -> None:
    start_pod(cluster, "through")
    eventually(lambda: container(cluster, "through").get("ready"))
    before = container(cluster, "through")
    agent = (node_folder(cluster) / "agent.pid").read_text()

    os.kill(int((cluster.folder / cluster.name / "server.pid").read_text().split()[0]), signal.SIGKILL)
    cluster.timonel("up")

    start_pod(cluster, "afterwards")
    eventually(lambda: container(cluster, "afterwards").get("ready"))
    after = container(cluster, "through")
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], before["restartCount"])
    assert (node_folder(cluster) / "agent.pid").read_text() == agent


def test_a_mirror_that_does_not_answer_is_named_and_hurts_nobody_else(cluster: RunningCluster) -> None:
    said = cluster.timonel("image", "mirror", "silent.example", "http://127.0.0.1:9")
    assert "warning: no answer from http://127.0.0.1:9" in said

    start_pod(cluster, "waiting", "silent.example/app:1")
    start_pod(cluster, "running")

    def message() -> str:
        events = cluster.get("events", "--field-selector", "involvedObject.name=waiting,reason=Failed")[
            "items"
        ]
        return next((e["message"] for e in events if "127.0.0.1:9" in e["message"]), "")

    assert "silent.example/app:1" in eventually(message)
    eventually(lambda: container(cluster, "running").get("ready"))


def test_a_node_that_cannot_start_keeps_neither_up_nor_the_rest(cluster: RunningCluster) -> None:
    cluster.timonel("down")
    place = node_folder(cluster) / "containerd"
    aside = place.with_name("aside")
    place.rename(aside)
    place.write_text("not a folder")

    said = cluster.timonel("up")

    assert f"is not ready: [Errno 20] Not a directory: '{place}/" in said
    assert f"its log: {node_folder(cluster) / 'agent.log'}" in said
    assert "Traceback" not in said
    cluster.kubectl("create", "configmap", "although", "--from-literal=a=b")
    place.unlink()
    aside.rename(place)
    eventually(lambda: container(cluster, "lasting").get("ready"))

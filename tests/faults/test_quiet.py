"""A cluster in normal operation: nothing worrying in its log from start to stop, and nothing done while idle."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.servers import ServerProcess, running, wait_for

IDLE = 4.0  # seconds
BUSY = 0.05  # of a processor is more than an idle cluster may take; design: 0.2 % of a machine
LABELS = {"app": "quiet"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}
ONCE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
SELECTOR = {"matchLabels": LABELS}
CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
APPLICATION: list[tuple[str, str, dict[str, Any]]] = [
    ("apis/apps/v1", "deployments", {"replicas": 3, "selector": SELECTOR, "template": POD}),
    ("apis/apps/v1", "daemonsets", {"selector": SELECTOR, "template": POD}),
    ("apis/apps/v1", "statefulsets", {
        "replicas": 2, "serviceName": "quiet", "selector": SELECTOR, "template": POD, "volumeClaimTemplates": [CLAIM],
    }),
    ("apis/batch/v1", "jobs", {"template": ONCE}),
    ("apis/batch/v1", "cronjobs", {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": ONCE}}}),
    ("api/v1", "services", {"selector": LABELS, "ports": [{"port": 80}]}),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    everything = "api,controllers,scheduler,node"
    with running(tmp_path_factory.mktemp("quiet"), components=everything) as server:
        yield server


def apply(server: ServerProcess, namespace: str) -> None:
    assert server.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).status == 201
    for root, plural, spec in APPLICATION:
        body = {"metadata": {"name": "quiet"}, "spec": spec}
        answer = server.send("POST", f"/{root}/namespaces/{namespace}/{plural}", body)
        assert answer.status == 201, answer.body


def is_running(server: ServerProcess, namespace: str) -> bool:
    pods = server.send("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector=app=quiet").body["items"]
    return len(pods) >= 6 and all(p["status"].get("phase") == "Running" for p in pods)


def remarks(log: str) -> list[str]:
    """Lines of the log that are more than information: warnings, errors, anything that has no level."""
    return [line for line in log.splitlines() if line[24:25] != "I"]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_application_comes_and_goes_without_a_word(server: ServerProcess) -> None:
    for namespace in ("one", "two"):
        apply(server, namespace)
    for namespace in ("one", "two"):
        wait_for(lambda n=namespace: is_running(server, n), f"the pods of {namespace}")

    for namespace in ("one", "two"):
        assert server.send("DELETE", f"/api/v1/namespaces/{namespace}").status == 200
    for namespace in ("one", "two"):
        path = f"/api/v1/namespaces/{namespace}"
        wait_for(lambda p=path: server.send("GET", p).status == 404, "an end of the namespace", 40)

    assert remarks(server.log) == []


def test_an_idle_cluster_does_nothing(server: ServerProcess) -> None:
    time.sleep(1.5)  # what came before has settled
    before = processor_seconds(server.pid)

    time.sleep(IDLE)

    assert processor_seconds(server.pid) - before <= BUSY * IDLE


def test_it_stops_without_a_word(server: ServerProcess) -> None:
    server.down()

    assert remarks(server.log) == []

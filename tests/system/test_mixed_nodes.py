"""Nodes with containers and simulated ones in one cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.demo import IMAGE, image_archive

from tests.system.conftest import RunningCluster

SIMULATED = 3


def deployment(replicas: int) -> dict[str, Any]:
    """As many pods on each node as on any other one."""
    labels = {"app": "web"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo really running; exec sleep 1000"],
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "topologySpreadConstraints": [spread],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


@pytest.fixture(scope="module")
def mixed(cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    archive: Path = tmp_path_factory.mktemp("images") / "image.tar"
    archive.write_bytes(image_archive())
    cluster.timonel("image", "import", str(archive))
    cluster.timonel("node", "add", "--simulated", str(SIMULATED), "--cpu", "32", "--label", "pool=paper")
    cluster.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s")
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(deployment(2 * (SIMULATED + 1))))
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "deployment", "web", "--wait=true")


def pods_of(cluster: RunningCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("pods", "-l", "app=web")["items"]
    return found


def a_pod_of(cluster: RunningCluster, *, simulated: bool) -> str:
    paper = {n["metadata"]["name"] for n in cluster.get("nodes", "-l", "pool=paper")["items"]}
    return next(
        str(p["metadata"]["name"]) for p in pods_of(cluster) if (p["spec"]["nodeName"] in paper) == simulated
    )


def test_pods_run_on_both_kinds_and_no_two_have_one_address(mixed: RunningCluster) -> None:
    pods = pods_of(mixed)

    on_nodes = [p["spec"]["nodeName"] for p in pods]
    assert sorted(map(on_nodes.count, set(on_nodes))) == [2] * (SIMULATED + 1)
    assert {p["status"]["phase"] for p in pods} == {"Running"}
    assert len({p["status"]["podIP"] for p in pods}) == len(pods)
    ranges = [n["spec"]["podCIDR"] for n in mixed.get("nodes")["items"]]
    assert len(set(ranges)) == len(ranges)


def test_logs_and_commands_come_from_where_the_pod_is(mixed: RunningCluster) -> None:
    real, paper = a_pod_of(mixed, simulated=False), a_pod_of(mixed, simulated=True)

    assert mixed.kubectl("logs", real) == "really running\n"
    assert "this node simulates its containers" in mixed.kubectl("logs", paper)
    assert mixed.kubectl("exec", real, "--", "sh", "-c", "echo here") == "here\n"
    assert "no process to run a command in" in mixed.kubectl("exec", paper, "--", "sh", check=False)


def test_a_pod_goes_where_its_selector_says(mixed: RunningCluster) -> None:
    spec = {"nodeSelector": {"pool": "paper"}, "containers": [{"name": "c", "image": "anything:1"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "chosen"}, "spec": spec}
    mixed.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    mixed.kubectl("wait", "--for=condition=Ready", "pod/chosen", "--timeout=30s")

    assert mixed.get("pod", "chosen")["spec"]["nodeName"].startswith("sim-")
    mixed.kubectl("delete", "pod", "chosen", "--wait=true")


def test_simulated_nodes_can_be_removed_and_others_cannot(mixed: RunningCluster) -> None:
    listed = {n["name"]: n["kind"] for n in json.loads(mixed.timonel("node", "list", "-o", "json"))}
    assert list(listed.values()).count("simulated") == SIMULATED

    mixed.timonel("node", "rm", "sim-1")

    assert "not simulated" in mixed.timonel("node", "rm", mixed.name + "-1", check=False)
    assert "sim-1" not in {n["metadata"]["name"] for n in mixed.get("nodes")["items"]}

"""Pods that take too much of their node, really: they are ended, the others stay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.boxed import busybox
from tests.system.conftest import RunningCluster

BUSYBOX = "docker.io/library/busybox:latest"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    folder = tmp_path_factory.mktemp("e")
    found = RunningCluster("eviction", folder)
    archive = folder / "busybox.tar"
    archive.write_bytes(busybox())
    found.timonel("up", "--runtime", "containerd", "--port", "0", "--quiet")
    found.timonel("image", "import", str(archive))
    yield found
    found.timonel("down")


def pod(name: str, script: str, **container: Any) -> dict[str, Any]:
    main = {"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
    spec: dict[str, Any] = {"containers": [main | container], "terminationGracePeriodSeconds": 1}
    if "volumeMounts" in container:
        spec["volumes"] = [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def eventually(look: Callable[[], Any], *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.3)
    return found


def apply(cluster: RunningCluster, *pods: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))


def status(cluster: RunningCluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("pod", name).get("status") or {}
    return found


def failed(cluster: RunningCluster, name: str) -> dict[str, Any]:
    return eventually(lambda: (s := status(cluster, name)).get("phase") == "Failed" and s)  # type: ignore[no-any-return]


def test_who_uses_more_of_the_disk_than_he_may_is_ended(cluster: RunningCluster) -> None:
    write = "dd if=/dev/zero of={} bs=1M count=3 && sleep 1000"
    mount = [{"name": "scratch", "mountPath": "/scratch"}]
    limits = {"limits": {"ephemeral-storage": "2Mi"}}
    apply(
        cluster,
        pod("filler", write.format("/scratch/x"), volumeMounts=mount),
        pod("writer", write.format("/x"), resources=limits),
        pod("modest", "sleep 1000", volumeMounts=mount, resources=limits),
    )

    filler, writer = failed(cluster, "filler"), failed(cluster, "writer")

    assert (filler["reason"], writer["reason"]) == ("Evicted", "Evicted")
    assert filler["message"] == 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '
    assert writer["message"].startswith(
        "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi"
    )
    assert status(cluster, "modest")["phase"] == "Running"
    events = cluster.kubectl("get", "events", "--field-selector", "reason=Evicted", "-o", "name")
    assert len(events.split()) == 2


def test_a_node_that_is_short_of_memory_ends_pods_and_takes_no_more(cluster: RunningCluster) -> None:
    """Short by its settings: more must be free than any machine has."""
    apply(cluster, pod("victim", "sleep 1000"))
    cluster.kubectl("wait", "pod/victim", "--for=condition=Ready", "--timeout=60s")
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    cluster.timonel("down")
    cluster.timonel("up", "--quiet", "--kubelet-arg", "eviction-hard=memory.available<1Pi")

    victim = failed(cluster, "victim")

    assert victim["reason"] == "Evicted"
    assert victim["message"].startswith(
        "The node was low on resource: memory. Threshold quantity: 1Pi, available: "
    )
    disrupted = {c["type"]: c.get("reason") for c in victim["conditions"]}
    assert disrupted["DisruptionTarget"] == "TerminationByKubelet"

    def under_pressure() -> bool:
        conditions = cluster.get("node", node)["status"]["conditions"]
        return any(c["type"] == "MemoryPressure" and c["status"] == "True" for c in conditions)

    eventually(under_pressure)
    late = pod("late", "sleep 1000")
    late["spec"]["nodeName"] = node
    apply(cluster, late)
    refused = failed(cluster, "late")
    assert refused["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
    folder = Path(cluster.folder) / cluster.name / "nodes" / node / "pods"
    cluster.kubectl("delete", "pods", "--all", "--timeout=30s")
    eventually(lambda: not list(folder.iterdir()))

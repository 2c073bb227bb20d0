"""Two servers on one etcd: the one that leads is killed, the other goes on within the lease; nothing is done twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.faults.servers import ServerProcess, running, wait_for
from tests.store.etcd.servers import etcd

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SETS, PODS = "/apis/apps/v1/namespaces/default/replicasets", "/api/v1/namespaces/default/pods"
LEASE = 15.0  # seconds
REPLICAS = 30


def holder(server: ServerProcess, lease: str) -> str:
    found = server.send("GET", f"{LEASES}/{lease}")
    return found.body["spec"].get("holderIdentity", "") if found.status == 200 else ""


def replica_set(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": {"name": name}, "spec": spec}


def pods(server: ServerProcess) -> int:
    return len(server.send("GET", PODS).body["items"])


def test_the_other_server_goes_on_and_nothing_is_done_twice(tmp_path: Path) -> None:
    both = "api,controllers"
    with etcd(tmp_path / "etcd") as store, running(tmp_path, name="a", components=both, store=store.url) as a:
        wait_for(lambda: holder(a, "kube-controller-manager").startswith("a_"), "a leader")
        b = ServerProcess(tmp_path, name="b", components=both, store=store.url)
        b.share_keys(a)
        b.up()
        try:
            wait_for(
                lambda: b.send("GET", "/api/v1/namespaces/default/serviceaccounts/default").status == 200, "b"
            )
            assert a.send("POST", SETS, replica_set("web", REPLICAS)).status == 201
            a.kill()
            killed = time.monotonic()

            wait_for(lambda: holder(b, "kube-controller-manager").startswith("b_"), "a new leader", 2 * LEASE)
            taken = time.monotonic() - killed
            wait_for(lambda: pods(b) >= REPLICAS, "all pods")
            time.sleep(1)
            there = pods(b)
            events = b.send("GET", "/api/v1/namespaces/kube-system/events").body["items"]
        finally:
            b.down()

    assert taken < LEASE + 3
    assert there == REPLICAS
    told = [e["message"].partition("_")[0] for e in events if e["reason"] == "LeaderElection"]
    assert told == ["a", "b"]
    assert all(e["message"].endswith(" became leader") for e in events if e["reason"] == "LeaderElection")
    assert {e["source"]["component"] for e in events if e["reason"] == "LeaderElection"} == {
        "kube-controller-manager"
    }


def test_a_server_that_has_its_store_for_itself_holds_no_election(tmp_path: Path) -> None:
    with running(tmp_path, components="api,controllers") as server:
        wait_for(
            lambda: server.send("GET", "/api/v1/namespaces/default/serviceaccounts/default").status == 200,
            "it",
        )
        assert server.send("GET", LEASES).body["items"] == []

"""Three real nodes on this machine: pods reach each other and Services from everywhere; nodes fail and come back."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.boxed import busybox
from tests.system.conftest import RunningCluster

NODES = ("several-1", "several-2", "several-3")


def traces(bridge: str, folder: str) -> list[str]:
    """What a cluster may leave on a machine: links, routes, tables, mounts, processes."""
    found = []
    for command in (
        ["ip", "-brief", "link"],
        ["ip", "route"],
        ["nft", "list", "tables"],
        ["ps", "-eo", "args"],
    ):
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found += [line for line in text.splitlines() if bridge in line or folder in line]
    return [*found, *(line for line in Path("/proc/mounts").read_text().splitlines() if folder in line)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with tempfile.TemporaryDirectory(prefix="tmn-") as folder:
        found = RunningCluster("several", Path(folder))
        found.timonel("up", "--runtime", "containerd", "--nodes", "3", "--port", "0")
        bridge = found.settings["network"]["bridge"]
        try:
            archive = Path(folder) / "busybox.tar"
            archive.write_bytes(busybox())
            for node in NODES:
                socket = found.folder / "several" / "nodes" / node / "containerd" / "c.sock"
                put_image(socket, archive)
            found.kubectl(
                "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects()})
            )
            found.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s")
            yield found
        finally:
            found.timonel("down", "--delete", "-y")
    assert traces(bridge, folder) == [], "something was left on the machine"


def put_image(socket: Path, archive: Path) -> None:
    command = ["ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", str(archive)]
    subprocess.run(command, check=True, capture_output=True)


def objects() -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for n, node in enumerate(NODES):
        script = f"mkdir -p /www; echo web-{n} > /www/index.html; exec httpd -f -p 8080 -h /www"
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"web-{n}", "labels": {"app": "web", "n": str(n)}},
                "spec": {
                    "nodeName": node,
                    "terminationGracePeriodSeconds": 0,
                    "hostname": f"web-{n}",
                    "subdomain": "peers",
                    "tolerations": [
                        {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
                        {"key": "node.kubernetes.io/unreachable", "operator": "Exists"},
                    ],
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox:latest",
                            "imagePullPolicy": "Never",
                            "command": ["sh", "-c", script],
                            "ports": [{"name": "http", "containerPort": 8080}],
                        }
                    ],
                },
            }
        )
    ports = [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30088}]
    for name, spec in (
        ("web", {"type": "NodePort", "ports": ports}),
        ("peers", {"clusterIP": "None", "ports": [{"port": 8080}]}),
    ):
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": {"app": "web"}, **spec},
            }
        )
    return made


def fetch(cluster: RunningCluster, pod: str, url: str, times: int = 1) -> set[str]:
    script = f"for i in $(seq {times}); do timeout 2 wget -qO- {url} || echo failed; done"
    return set(cluster.kubectl("exec", pod, "--", "sh", "-c", script, check=False).split()) - {"Terminated"}


def until(check: Callable[[], bool], seconds: float) -> float:
    """How long it took to come true."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, "it never came true"
        time.sleep(0.3)
    return time.monotonic() - began


def ready(cluster: RunningCluster) -> set[str]:
    found = set()
    for node in cluster.get("nodes")["items"]:
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"]):
            found.add(node["metadata"]["name"])
    return found


def test_pods_of_all_nodes_reach_each_other_by_address_and_by_name(cluster: RunningCluster) -> None:
    for n in range(3):
        ip = cluster.get("pod", f"web-{n}")["status"]["podIP"]
        assert fetch(cluster, "web-0", f"http://{ip}:8080/") == {f"web-{n}"}
        assert fetch(cluster, "web-1", f"http://web-{n}.peers:8080/") == {f"web-{n}"}


def test_a_service_leads_to_the_pods_of_all_nodes(cluster: RunningCluster) -> None:
    assert fetch(cluster, "web-0", "http://web/", 40) == {"web-0", "web-1", "web-2"}
    assert fetch(cluster, "web-2", "http://web.default.svc.cluster.local/", 3) <= {"web-0", "web-1", "web-2"}


def test_every_node_answers_on_the_node_port(cluster: RunningCluster) -> None:
    for node in cluster.get("nodes")["items"]:
        address = node["status"]["addresses"][0]["address"]
        found = answer(f"http://{address}:30088/")
        assert found.startswith("web-"), address


def test_a_load_balancer_has_the_addresses_of_the_nodes_until_it_is_none(cluster: RunningCluster) -> None:
    cluster.kubectl("create", "service", "loadbalancer", "out", "--tcp=8088:8080")
    cluster.kubectl("patch", "service", "out", "-p", '{"spec": {"selector": {"app": "web"}}}')

    def ingress() -> list[str]:
        status = cluster.get("service", "out")["status"]["loadBalancer"]
        return [i["ip"] for i in status.get("ingress", [])]

    addresses = [n["status"]["addresses"][0]["address"] for n in cluster.get("nodes")["items"]]
    until(lambda: ingress() == addresses, 10)
    for address in addresses:
        until(lambda url=f"http://{address}:8088/": answer(url).startswith("web-"), 5)  # type: ignore[misc]
    cluster.kubectl("create", "service", "loadbalancer", "late", "--tcp=8088:8080")
    until(lambda: "port 8088/TCP of the nodes is already used" in cluster.kubectl("get", "events"), 10)
    cluster.kubectl("patch", "service", "out", "-p", '{"spec": {"type": "ClusterIP"}}')
    until(lambda: ingress() == [], 10)
    cluster.kubectl("delete", "service", "out", "late")


def answer(url: str) -> str:
    command = ["curl", "-s", "--max-time", "3", url]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_a_network_policy_holds_between_nodes(cluster: RunningCluster) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-one"},
        "spec": {
            "podSelector": {"matchLabels": {"n": "0"}},
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": {"n": "1"}}}], "ports": [{"port": "http"}]}
            ],
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(policy))
    until(lambda: fetch(cluster, "web-2", "http://web-0.peers:8080/") != {"web-0"}, 5)
    assert fetch(cluster, "web-1", "http://web-0.peers:8080/") == {"web-0"}
    assert fetch(cluster, "web-0", "http://web-2.peers:8080/") == {"web-2"}
    cluster.kubectl("delete", "networkpolicy", "only-one")
    until(lambda: fetch(cluster, "web-2", "http://web-0.peers:8080/") == {"web-0"}, 5)


def test_dns_settings_are_a_config_map(cluster: RunningCluster) -> None:
    cluster.kubectl(
        "create", "configmap", "kube-dns", "-n", "kube-system", '--from-literal=stubDomains={"x": 1}'
    )
    log = cluster.folder / "several" / "nodes" / NODES[0] / "agent.log"
    until(lambda: "stubDomains[x]: expected a list" in log.read_text(), 5)


def test_a_node_that_is_switched_off_leaves_and_comes_back(cluster: RunningCluster) -> None:
    cluster.timonel("node", "stop", NODES[2])
    assert fetch(cluster, "web-0", "http://web-2.peers:8080/") == {"failed"}
    time.sleep(1.5)
    assert not (cluster.folder / "several" / "nodes" / NODES[2] / "box.pid").exists()
    cluster.timonel("node", "start", NODES[2])
    until(lambda: fetch(cluster, "web-0", "http://web-2.peers:8080/") == {"web-2"}, 60)
    assert "there is no node" in cluster.timonel("node", "stop", "nothing", check=False)


def test_a_node_that_is_cut_off_heals(cluster: RunningCluster) -> None:
    cluster.timonel("node", "partition", NODES[1])
    ip = cluster.get("pod", "web-1")["status"]["podIP"]
    assert fetch(cluster, "web-0", f"http://{ip}:8080/") == {"failed"}
    cluster.timonel("node", "heal", NODES[1])
    until(lambda: fetch(cluster, "web-0", f"http://{ip}:8080/") == {"web-1"}, 20)
    until(lambda: ready(cluster) == set(NODES), 60)

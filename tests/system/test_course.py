"""The course "Introducción a Kubernetes" with real containers: its manifests as they stand, checked by what happens."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.system.conftest import ROOT, SHARED, RunningCluster

DECK = SHARED / "deck"
IMAGES = Path("/var/cache/timonel-tests/course")
ATTEMPTS = 10
T = TypeVar("T")
MYSQL = 'exec mysql -uroot -p"$MYSQL_ROOT_PASSWORD" -N -e "$0"'


def eventually(look: Callable[[], T], *, seconds: float = 60, pause: float = 0.3) -> T:
    """The first truthy result of `look`; fails with the last one."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {found!r}")
        time.sleep(pause)


def fetch(url: str, timeout: float = 3) -> tuple[int, str, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.status, answer.read().decode(), dict(answer.headers)


@pytest.fixture(scope="module")
def registry(cluster: RunningCluster) -> Iterator[str]:
    """A registry with the images of the course, on the cluster's own bridge, that stands in for docker.io."""
    address = f"{cluster.settings['network']['gateway']}:5000"
    IMAGES.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "course_images.py"), "serve", str(IMAGES), address],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            lines = []
            for line in server.stdout:
                lines.append(line)
                if line.startswith("Serving"):
                    break
            else:
                pytest.fail(f"the registry did not start: {lines}")
            cluster.timonel("image", "mirror", "docker.io", f"http://{address}")
            yield address
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def deck(cluster: RunningCluster, registry: str) -> str:
    """What `kubectl apply` said of the whole deck."""
    return cluster.kubectl("apply", "-f", str(DECK))


def node_address(cluster: RunningCluster) -> str:
    (node,) = cluster.get("nodes")["items"]
    return str(next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"))


def pods(cluster: RunningCluster, namespace: str, instance: str) -> list[dict[str, Any]]:
    found = cluster.get("pods", "-n", namespace, "-l", f"app.kubernetes.io/instance={instance}")
    items: list[dict[str, Any]] = found["items"]
    return items


def wait_for_website(cluster: RunningCluster) -> None:
    cluster.kubectl("rollout", "status", "deployment/website", "-n", "frontend", "--timeout=120s")


def test_images_are_pulled_listed_and_removed(cluster: RunningCluster, registry: str) -> None:
    """Before anything uses them."""
    assert "Pulled 1 image onto 1 node." in cluster.timonel("image", "pull", "busybox:latest")
    listed = json.loads(cluster.timonel("image", "ls", "-o", "json"))
    assert "docker.io/library/busybox:latest" in {row["image"] for row in listed}

    assert "Removed 1 image." in cluster.timonel("image", "rm", "busybox:latest")
    assert "no node has busybox:latest" in cluster.timonel("image", "rm", "busybox:latest", check=False)
    assert "is no reference of an image" in cluster.timonel("image", "pull", "No Such", check=False)
    assert "not found" in cluster.timonel("image", "pull", "library/absent:1", check=False)


def test_the_deck_is_accepted_and_retired_versions_are_warned_of(deck: str) -> None:
    for line in ("cronjob.batch/hello created", "ingress.networking.k8s.io/landing created"):
        assert line in deck
    assert "Warning: batch/v1beta1 CronJob is deprecated" in deck
    assert deck.count("Warning:") >= 2


def test_hello_logs_its_line_and_commands_run_in_it(cluster: RunningCluster, deck: str) -> None:
    cluster.kubectl("wait", "pod/hello", "-n", "backend", "--for=condition=Ready", "--timeout=60s")

    assert eventually(lambda: cluster.kubectl("logs", "hello", "-n", "backend")) == "Hello Kubernetes!\n"
    assert cluster.kubectl("exec", "hello", "-n", "backend", "--", "hostname") == "hello\n"
    assert (
        cluster.kubectl("exec", "-i", "hello", "-n", "backend", "--", "cat", stdin="through\n") == "through\n"
    )
    failed = cluster.kubectl("exec", "hello", "-n", "backend", "--", "sh", "-c", "exit 7", check=False)
    assert "exit code 7" in failed


def test_the_website_answers_by_cluster_ip_and_by_name_from_a_pod(cluster: RunningCluster, deck: str) -> None:
    wait_for_website(cluster)
    address = cluster.get("service", "website", "-n", "frontend")["spec"]["clusterIP"]

    for host in (address, "website.frontend.svc.cluster.local", "website.frontend"):
        answer = cluster.kubectl("exec", "hello", "-n", "backend", "--", "wget", "-qO-", f"http://{host}/")
        assert "Welcome to nginx!" in answer


@pytest.fixture(scope="module")
def website(cluster: RunningCluster, deck: str) -> str:
    """The website's URL through a NodePort."""
    wait_for_website(cluster)
    cluster.kubectl("patch", "service", "website", "-n", "frontend", "-p", '{"spec":{"type":"NodePort"}}')
    port = cluster.get("service", "website", "-n", "frontend")["spec"]["ports"][0]["nodePort"]
    return f"http://{node_address(cluster)}:{port}/"


def answered(url: str) -> dict[str, str]:
    """The headers of an answer, and what it says as `body`; empty when nobody answers."""
    with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
        _, body, headers = fetch(url)
        return {**headers, "body": body}
    return {}


def test_the_website_answers_through_a_node_port_from_the_host(website: str) -> None:
    assert "Welcome to nginx!" in eventually(lambda: answered(website), seconds=10)["body"]


def test_its_pre_stop_hook_runs(cluster: RunningCluster, website: str) -> None:
    name = pods(cluster, "frontend", "website")[0]["metadata"]["name"]
    with cluster.start("logs", "-f", name, "-n", "frontend") as logs:
        assert logs.stdout is not None
        cluster.kubectl("delete", "pod", name, "-n", "frontend")
        text = logs.stdout.read()

    assert "signal 3 (SIGQUIT) received" in text  # from `nginx -s quit`; a plain stop would be signal 15
    wait_for_website(cluster)


def test_a_rolling_update_and_its_undo_keep_answering(cluster: RunningCluster, website: str) -> None:
    """A client that asks again for a second is always answered.

    The deck has no readiness probe and allows 2 ms of CPU in 100: a new pod counts as ready before nginx listens, here
    as upstream, and refuses connections until then.
    """
    refused: list[str] = []
    seen: set[str] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    seen.add(fetch(website, timeout=5)[2]["X-Image-Tag"])
                    break
                except (urllib.error.URLError, ConnectionError, TimeoutError) as exc:
                    if attempt == ATTEMPTS:
                        refused.append(f"{time.monotonic()}: {exc}")
                    time.sleep(0.1)
            time.sleep(0.05)

    client = threading.Thread(target=ask)
    client.start()
    try:
        cluster.kubectl("set", "image", "deployment/website", "nginx=nginx:1.19.0-alpine", "-n", "frontend")
        wait_for_website(cluster)
        eventually(lambda: "1.19.0-alpine" in seen, seconds=10)
        assert "REVISION" in cluster.kubectl("rollout", "history", "deployment/website", "-n", "frontend")
        cluster.kubectl("rollout", "undo", "deployment/website", "-n", "frontend")
        wait_for_website(cluster)
    finally:
        stop.set()
        client.join()
    assert not refused
    assert eventually(lambda: answered(website), seconds=10)["X-Image-Tag"] == "1.18.0-alpine"


def test_a_failing_liveness_probe_restarts_the_container(cluster: RunningCluster, deck: str) -> None:
    probe = {"exec": {"command": ["cat", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    run_pod(
        cluster,
        "sick",
        {"command": ["sh", "-c", "touch /tmp/alive; exec sleep 1000"], "livenessProbe": probe},
        grace=1,
    )
    cluster.kubectl("wait", "pod/sick", "-n", "backend", "--for=condition=Ready", "--timeout=60s")

    cluster.kubectl("exec", "sick", "-n", "backend", "--", "rm", "/tmp/alive")

    def restarts() -> int:
        return int(
            cluster.get("pod", "sick", "-n", "backend")["status"]["containerStatuses"][0]["restartCount"]
        )

    eventually(lambda: restarts() >= 1, seconds=30)
    events = cluster.kubectl("get", "events", "-n", "backend", "--field-selector", "involvedObject.name=sick")
    assert "Liveness probe failed: cat: can't open '/tmp/alive': No such file or directory" in events
    assert "failed liveness probe, will be restarted" in events


def run_pod(
    cluster: RunningCluster, name: str, container: dict[str, Any], *, grace: int = 0, **spec: Any
) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "backend"},
        "spec": {
            "terminationGracePeriodSeconds": grace,
            "containers": [{"name": "default", "image": "busybox", **container}],
            **spec,
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def sql(cluster: RunningCluster, statement: str) -> str:
    return cluster.kubectl("exec", "mariadb-0", "-n", "persistence", "--", "sh", "-c", MYSQL, statement)


def test_the_database_keeps_a_table_when_its_pod_is_deleted(cluster: RunningCluster, deck: str) -> None:
    ready = ("wait", "pod/mariadb-0", "-n", "persistence", "--for=condition=Ready", "--timeout=180s")
    cluster.kubectl(*ready)
    claim = cluster.get("pvc", "data-mariadb-0", "-n", "persistence")
    assert (claim["status"]["phase"], claim["spec"]["storageClassName"]) == ("Bound", "standard")
    sql(cluster, "CREATE DATABASE course; CREATE TABLE course.t (v INT); INSERT INTO course.t VALUES (1963)")

    before = cluster.get("pod", "mariadb-0", "-n", "persistence")["metadata"]["uid"]
    cluster.kubectl("delete", "pod", "mariadb-0", "-n", "persistence")
    eventually(lambda: other_uid(cluster, before))
    cluster.kubectl(*ready)

    assert sql(cluster, "SELECT v FROM course.t").splitlines()[-1] == "1963"
    assert (
        sql(cluster, "SELECT @@max_connections").splitlines()[-1] == "42"
    )  # from my.cnf, mounted by subPath


def other_uid(cluster: RunningCluster, uid: str) -> bool:
    found = cluster.get("pods", "-n", "persistence")["items"]
    return any(p["metadata"]["name"] == "mariadb-0" and p["metadata"]["uid"] != uid for p in found)


def test_the_headless_service_names_the_database_pod(cluster: RunningCluster, deck: str) -> None:
    cluster.kubectl("wait", "pod/mariadb-0", "-n", "persistence", "--for=condition=Ready", "--timeout=180s")
    address = cluster.get("pod", "mariadb-0", "-n", "persistence")["status"]["podIP"]

    for name in ("mariadb.persistence.svc.cluster.local", "mariadb-0.mariadb.persistence.svc.cluster.local"):
        assert address in eventually(
            lambda n=name: cluster.kubectl(  # type: ignore[misc]
                "exec", "hello", "-n", "backend", "--", "nslookup", n, check=False
            )
        )


def test_the_job_computes_pi(cluster: RunningCluster, deck: str) -> None:
    cluster.kubectl("wait", "job/pi", "--for=condition=Complete", "--timeout=180s")

    assert cluster.kubectl("logs", "job/pi").startswith("3.14159")


def test_the_cron_job_fires_within_its_minute(cluster: RunningCluster, deck: str) -> None:
    def log() -> str:
        jobs = [
            j["metadata"]["name"]
            for j in cluster.get("jobs")["items"]
            if j["metadata"]["name"].startswith("hello-") and j.get("status", {}).get("succeeded")
        ]
        return cluster.kubectl("logs", f"job/{jobs[0]}") if jobs else ""

    assert eventually(log, seconds=80) == "Hello from Kubernetes\n"


def test_metrics_of_the_node_exporter_are_reachable(cluster: RunningCluster, deck: str) -> None:
    cluster.kubectl("rollout", "status", "daemonset/node-exporter", "-n", "monitoring", "--timeout=120s")
    (pod,) = pods(cluster, "monitoring", "node-exporter")

    def look() -> str:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return fetch(f"http://{pod['status']['podIP']}:9100/metrics", timeout=90)[1]
        return ""

    assert "node_exporter_build_info" in eventually(look, seconds=180)
    assert pod["spec"]["priority"] == 2000001000


def test_config_map_and_secret_reach_a_pod_as_environment_and_as_files(
    cluster: RunningCluster, deck: str
) -> None:
    source = [{"configMapRef": {"name": "superapi"}}, {"secretRef": {"name": "superapi"}}]
    volumes = [
        {"name": "config", "configMap": {"name": "superapi"}},
        {"name": "secret", "secret": {"secretName": "superapi"}},
    ]
    mounts = [{"name": "config", "mountPath": "/config"}, {"name": "secret", "mountPath": "/secret"}]
    command = ["sh", "-c", "env | sort; cd /config; for f in *; do echo file $f=$(cat $f); done; cd /secret;"
               " for f in *; do echo file $f=$(cat $f); done; sleep 1000"]  # fmt: skip
    run_pod(
        cluster, "reader", {"command": command, "envFrom": source, "volumeMounts": mounts}, volumes=volumes
    )
    cluster.kubectl("wait", "pod/reader", "-n", "backend", "--for=condition=Ready", "--timeout=60s")
    config = cluster.get("configmap", "superapi", "-n", "backend")["data"]
    secret = cluster.kubectl("get", "secret", "superapi", "-n", "backend", "-o", "go-template={{range $k, $v := .data}}"
                             "{{$k}}={{$v | base64decode}}{{\"\\n\"}}{{end}}")  # fmt: skip

    lines = eventually(lambda: cluster.kubectl("logs", "reader", "-n", "backend")).splitlines()
    for wanted in (*(f"{k}={v}" for k, v in config.items()), *secret.splitlines()):
        assert wanted in lines
        assert f"file {wanted}" in lines


def test_the_ingress_is_stored_as_converted(cluster: RunningCluster, deck: str) -> None:
    (rule,) = cluster.get("ingress", "landing", "-n", "frontend")["spec"]["rules"]

    assert rule["http"]["paths"] == [
        {
            "pathType": "ImplementationSpecific",
            "backend": {"service": {"name": "landing", "port": {"name": "http"}}},
        }
    ]


def test_what_people_do_with_kubectl(cluster: RunningCluster, website: str, tmp_path: Path) -> None:
    k = cluster.kubectl
    assert "website" in k("get", "deploy,rs,pods,svc", "-n", "frontend", "-o", "wide")
    assert "Ready" in k("get", "nodes")
    described = k("describe", "deployment", "website", "-n", "frontend")
    assert "ScalingReplicaSet" in described
    assert "RollingUpdateStrategy:  1 max unavailable, 25% max surge" in described
    assert "Successfully assigned backend/hello to" in k("describe", "pod", "hello", "-n", "backend")
    assert "DESCRIPTION" in k("explain", "deployment.spec.strategy.rollingUpdate")
    assert k("diff", "-f", str(DECK / "01-pod-hello.yaml")) == ""
    changed = (
        (DECK / "01-pod-hello.yaml").read_text().replace("app.kubernetes.io/instance: hello", "app: other")
    )
    assert "+    app: other" in k("diff", "-f", "-", stdin=changed, check=False)
    k("label", "pod", "hello", "-n", "backend", "course=yes")
    assert "hello" in k("get", "pods", "-n", "backend", "-l", "course=yes", "-o", "name")
    k("scale", "deployment", "website", "-n", "frontend", "--replicas=3")
    eventually(lambda: cluster.get("deploy", "website", "-n", "frontend")["status"].get("readyReplicas") == 3)
    k("scale", "deployment", "website", "-n", "frontend", "--replicas=2")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/APP_ENV: production/APP_ENV: edited/' \"$1\"\n")
    editor.chmod(0o755)
    subprocess.run(
        ["kubectl", "edit", "configmap", "superapi", "-n", "backend"],
        env={**cluster.environment, "KUBE_EDITOR": str(editor)},
        check=True,
        capture_output=True,
    )
    assert cluster.get("configmap", "superapi", "-n", "backend")["data"]["APP_ENV"] == "edited"


def test_logs_can_be_followed(cluster: RunningCluster, deck: str) -> None:
    run_pod(cluster, "talker", {"command": ["sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.2; done"]},
            restartPolicy="Never")  # fmt: skip
    cluster.kubectl(
        "wait", "pod/talker", "-n", "backend", "--for=condition=PodReadyToStartContainers", "--timeout=60s"
    )

    eventually(lambda: cluster.get("pod", "talker", "-n", "backend")["status"]["phase"] != "Pending")
    assert cluster.kubectl("logs", "-f", "talker", "-n", "backend") == "1\n2\n3\n"


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_deleting_a_deployment_takes_its_pods_along(cluster: RunningCluster, deck: str, cascade: str) -> None:
    name = f"gone-{cascade}"
    cluster.kubectl("create", "deployment", name, "-n", "backend", "--image=busybox", "--", "sleep", "1000")
    cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", "backend", "--timeout=60s")

    cluster.kubectl("delete", "deployment", name, "-n", "backend", f"--cascade={cascade}")

    eventually(lambda: not cluster.get("rs", "-n", "backend", "-l", f"app={name}")["items"])
    eventually(lambda: not cluster.get("pods", "-n", "backend", "-l", f"app={name}")["items"])


def test_orphans_outlive_their_deployment(cluster: RunningCluster, deck: str) -> None:
    cluster.kubectl(
        "create", "deployment", "parent", "-n", "backend", "--image=busybox", "--", "sleep", "1000"
    )
    cluster.kubectl("rollout", "status", "deployment/parent", "-n", "backend", "--timeout=60s")

    cluster.kubectl("delete", "deployment", "parent", "-n", "backend", "--cascade=orphan")

    (orphan,) = cluster.get("rs", "-n", "backend", "-l", "app=parent")["items"]
    assert "ownerReferences" not in orphan["metadata"]
    cluster.kubectl("delete", "rs", "-n", "backend", "-l", "app=parent")


def test_an_image_that_does_not_exist_is_said_so(cluster: RunningCluster, deck: str) -> None:
    run_pod(cluster, "nowhere", {"image": "no/such:image"})

    def reason() -> str:
        statuses = cluster.get("pod", "nowhere", "-n", "backend")["status"].get("containerStatuses") or [{}]
        return str(statuses[0].get("state", {}).get("waiting", {}).get("reason", ""))

    eventually(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"))
    assert 'Failed to pull image "no/such:image"' in cluster.kubectl(
        "describe", "pod", "nowhere", "-n", "backend"
    )


def test_a_command_that_does_not_exist_is_said_so(cluster: RunningCluster, deck: str) -> None:
    run_pod(cluster, "nocommand", {"command": ["/no/such/program"]}, restartPolicy="Never")

    def state() -> dict[str, Any]:
        statuses = cluster.get("pod", "nocommand", "-n", "backend")["status"].get("containerStatuses") or [{}]
        found: dict[str, Any] = statuses[0].get("state", {}).get("terminated") or {}
        return found

    found = eventually(state)
    assert (found["reason"], found["exitCode"]) == ("StartError", 128)
    assert "no such file or directory" in found["message"]


def test_killing_the_agent_leaves_containers_running(cluster: RunningCluster, deck: str) -> None:
    before = cluster.get("pod", "hello", "-n", "backend")["status"]["containerStatuses"][0]
    pid_file = next((cluster.folder / cluster.name / "nodes").glob("*/agent.pid"))
    first = pid_file.read_text()
    subprocess.run(["kill", "-9", first.split()[0]], check=True)

    eventually(lambda: pid_file.read_text() != first)
    assert eventually(
        lambda: (
            cluster.kubectl("exec", "hello", "-n", "backend", "--", "echo", "alive", check=False) == "alive\n"
        ),
        seconds=20,
    )
    after = cluster.get("pod", "hello", "-n", "backend")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], before["restartCount"])


def test_state_survives_down_and_up(cluster: RunningCluster, deck: str) -> None:
    cluster.timonel("down")
    cluster.timonel("up")

    assert "hello" in cluster.kubectl("get", "pods", "-n", "backend")
    cluster.kubectl("wait", "pod/hello", "-n", "backend", "--for=condition=Ready", "--timeout=60s")
    wait_for_website(cluster)

"""The node agent on real containers: run by `test_node_containerd.py`, inside a box that it makes."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest_asyncio

from tests.node.builders import container, pod
from tests.node.contract import RuntimeContract
from tests.system.boxed import Node, real_time, shell
from timonel.aio.lifecycle import running
from timonel.node import cgroups
from timonel.node.cri.runtime import Runtime
from timonel.node.volumes import mounts

pytestmark = real_time


class TestContainerd(RuntimeContract):
    @pytest_asyncio.fixture(loop_scope="session")
    async def runtime(self, node: Node) -> Runtime:
        return node.runtime


async def test_a_pod_runs_within_a_fraction_of_a_second(node: Node) -> None:
    async with running(node.agent()):
        begun = node.clock.monotonic()
        node.api.put("pods", shell("echo hello; sleep 1000", "quick"))
        await node.until("quick", '"running"')
        took = node.clock.monotonic() - begun
        await asyncio.sleep(0.2)
        text = node.log("quick")
        await node.delete("quick")
        await asyncio.sleep(0.5)
        left = [*(node.directory / "n" / "pods").iterdir(), *(node.directory / "n" / "logs").iterdir()]

    assert took < 5  # generous: other work may be going on; the benchmark tells the real figure
    assert text == "hello\n"
    assert left == []
    assert cgroups.pods_of("/kubepods-n1") == set()


async def test_what_a_container_says_at_its_end(node: Node) -> None:
    fields = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    async with running(node.agent()):
        speaks = "echo because > /dev/termination-log; exit 3"
        node.api.put("pods", shell(speaks, "ended", container=fields, restartPolicy="Never"))
        small = {"resources": {"limits": {"memory": "32Mi"}}}
        grows = shell("x=a; while true; do x=$x$x; done", "greedy", container=small, restartPolicy="Never")
        grows["status"]["qosClass"] = "Burstable"
        node.api.put("pods", grows)
        await node.until("ended", '"Failed"')
        await node.until("greedy", '"Failed"')
        ended, greedy = (node.main(name)["state"]["terminated"] for name in ("ended", "greedy"))
        await node.delete("ended")
        await node.delete("greedy")

    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "because\n")
    assert (greedy["exitCode"], greedy["reason"]) == (137, "OOMKilled")


async def test_volumes_and_environment(node: Node) -> None:
    meta = {"namespace": "default"}
    node.api.put("configmaps", {"metadata": {"name": "cm", **meta}, "data": {"my.cnf": "[x]", "k": "v1"}})
    node.api.put(
        "secrets", {"metadata": {"name": "s", **meta}, "data": {"pw": base64.b64encode(b"geheim").decode()}}
    )
    volumes = [
        {"name": "config", "configMap": {"name": "cm"}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    mounts = [
        {"name": "config", "mountPath": "/etc/x/my.cnf", "subPath": "my.cnf"},
        {"name": "config", "mountPath": "/config"},
        {"name": "secret", "mountPath": "/secret", "readOnly": True},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "token", "mountPath": "/token"},
    ]
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
        {"name": "B", "value": "$(A)-$(IP)"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    fields = {"volumeMounts": mounts, "env": env, "securityContext": {"runAsUser": 999}}
    async with running(node.agent()):
        wanted = shell("sleep 1000", "volumes", container=fields, volumes=volumes)
        wanted["spec"]["securityContext"] = {"fsGroup": 2000}
        node.api.put("pods", wanted)
        await node.until("volumes", '"running"')
        read = await node.run(
            "volumes", "sh", "-c", 'cat /etc/x/my.cnf /secret/pw /token/token; echo " $B"; id'
        )
        memory = await node.run("volumes", "sh", "-c", "echo x > /memory/x; df /memory | tail -1")
        node.api.put("configmaps", {"metadata": {"name": "cm", **meta}, "data": {"my.cnf": "[x]", "k": "v2"}})
        await asyncio.sleep(0.5)
        updated = await node.run("volumes", "cat", "/config/k")
        await node.delete("volumes")

    assert read == "[x]geheima.b.c v1-$(IP)\nuid=999 gid=0 groups=0,2000\n"
    assert memory.split()[:2] == ["tmpfs", "1024"]
    assert updated == "v2"


async def test_what_a_sub_path_shows_outlives_restarts_and_the_pod(node: Node, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("here")
    (tmp_path / "out").symlink_to("/etc")
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path)}}]
    within = [
        {"name": "host", "mountPath": "/kept", "subPath": "kept"},
        {"name": "host", "mountPath": "/file", "subPath": "kept/file"},
    ]
    without = [{"name": "host", "mountPath": "/out", "subPath": "out"}]
    script = "cat /file; echo >> /kept/starts; sleep 0.3; exit 1"
    async with running(node.agent()):
        node.api.put("pods", shell(script, "within", container={"volumeMounts": within}, volumes=volumes))
        node.api.put(
            "pods", shell("sleep 9", "without", container={"volumeMounts": without}, volumes=volumes)
        )
        await node.until("within", '"restartCount": 1')
        await node.until("without", "leads outside of its volume")
        await node.delete("within")
        await node.delete("without")
        left = [path for path in mounts.mounts_below(Path("/")) if "volume-subpaths" in path.parts]

    assert (tmp_path / "kept" / "file").read_text() == "here"
    assert len((tmp_path / "kept" / "starts").read_text()) >= 2
    assert not left


async def test_a_failing_liveness_probe_restarts_the_container(node: Node) -> None:
    fields = {
        "livenessProbe": {
            "exec": {"command": ["test", "!", "-e", "/dead"]},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo bye > /proc/1/fd/1"]}}},
    }
    async with running(node.agent()):
        node.api.put("pods", shell("httpd -p 8080 && exec sleep 1000", "probed", container=fields))
        await node.until("probed", '"ready": true')
        await node.run("probed", "touch", "/dead")
        await node.until("probed", '"restartCount": 1')
        await node.until("probed", '"ready": true')
        text = node.log("probed")
        events = node.api.events("probed")
        await node.delete("probed")

    assert "bye\n" in text
    assert ("Unhealthy", "Liveness probe failed: ") in events
    assert ("Killing", "Container main failed liveness probe, will be restarted") in events


async def test_containers_outlive_the_agent(node: Node) -> None:
    async with running(node.agent()):
        node.api.put("pods", shell("sleep 1000", "lasting"))
        node.api.put("pods", shell("sleep 1000", "unwanted"))
        await node.until("lasting", '"running"')
        await node.until("unwanted", '"running"')
    before = node.main("lasting")
    node.api.remove("pods", "default", "unwanted")
    async with running(node.agent()):
        await asyncio.sleep(3)
        left = [s.name for s in await node.runtime.list_sandboxes()]
        after = node.main("lasting")
        await node.delete("lasting")

    assert left == ["lasting"]
    assert after == before
    assert after["restartCount"] == 0


async def test_a_command_that_is_not_there(node: Node) -> None:
    missing = pod(
        container(command=["/nope"]), name="missing", uid="uid-missing", terminationGracePeriodSeconds=1
    )
    async with running(node.agent()):
        node.api.put("pods", missing)
        await node.until("missing", "CrashLoopBackOff")
        last = node.main("missing")["lastState"]["terminated"]
        await node.delete("missing")

    assert (last["exitCode"], last["reason"]) == (128, "StartError")
    assert "no such file or directory" in last["message"]

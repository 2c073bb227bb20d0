"""The node agent on real containers: run by `test_node_containerd.py`, inside a box that it makes."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.node.builders import container, pod
from tests.node.contract import RuntimeContract
from tests.node.fake_api import FakeApi
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.node import cgroups, oci
from timonel.node.containerd import ContainerdService, Layout, import_archive
from timonel.node.cri.runtime import Runtime
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.node.volumes import mounts
from timonel.objects.meta import Object

ADDRESS = "172.30.0.1"
real_time = pytest.mark.looptime(False)
pytestmark = [pytest.mark.asyncio(loop_scope="module"), real_time]


def busybox() -> bytes:
    program = Path("/bin/busybox")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    folders = ("bin", "etc", "tmp", "root", "proc", "sys", "dev")
    entries = [oci.Entry(name, "d", 0o1777 if name == "tmp" else 0o755) for name in folders]
    entries.append(oci.Entry("etc/passwd", mode=0o644, data=b"root:x:0:0:root:/root:/bin/sh\n"))
    entries.append(oci.Entry("bin/busybox", data=program.read_bytes()))
    entries += [oci.Entry(f"bin/{name}", "l", 0o777, b"busybox") for name in listed if name != "busybox"]
    config = {"Env": [oci.PATH_ENV], "Cmd": ["sh"]}
    return oci.archive(oci.layout("docker.io/library/busybox:latest", [oci.layer(entries)], config))


class Node:
    """What a test sees of the node."""

    def __init__(self, directory: Path, api: FakeApi, runtime: Runtime, clock: SystemClock) -> None:
        self.directory, self.api, self.runtime, self.clock = directory, api, runtime, clock

    def agent(self) -> NodeAgent:
        config = NodeConfig("n1", ADDRESS, self.directory / "n", "10.244.1.0/24", ("10.96.0.10",))
        return NodeAgent(config, self.api, self.runtime, self.clock)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (self.api.find("pods", "default", name) or {}).get("status", {})
        return found

    def main(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.status(name)["containerStatuses"][0]
        return found

    async def until(self, name: str, text: str, seconds: float = 30) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.api.until(lambda: text in json.dumps(self.status(name)))
        except TimeoutError:
            pytest.fail(f"{text} never came: {json.dumps(self.status(name))[:2000]} {self.api.events(name)}")

    async def delete(self, name: str, grace: int = 0) -> None:
        self.api.mark_deleted("default", name, grace)
        async with asyncio.timeout(30):
            await self.api.until(lambda: self.api.find("pods", "default", name) is None)

    async def run(self, name: str, *command: str) -> str:
        container_id = self.main(name)["containerID"].partition("://")[2]
        result = await self.runtime.exec_sync(container_id, command)
        return result.stdout.decode()

    def log(self, name: str, attempt: int = 0) -> str:
        found = self.api.find("pods", "default", name)
        assert found is not None
        folder = self.directory / "n" / "logs" / f"default_{name}_{found['metadata']['uid']}"
        lines = (folder / "main" / f"{attempt}.log").read_text().splitlines()
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    from timonel.node.cri.containerd import Containerd

    directory = Path(tempfile.mkdtemp(prefix="tn"))  # short: sockets live below it
    clock = SystemClock()
    layout = Layout(directory / "c", "n1", ADDRESS, "10.244.1.0/24")
    async with running(ContainerdService(layout, clock)):
        await import_archive(layout.socket, busybox())
        runtime = Containerd(str(layout.socket), clock)
        yield Node(directory, FakeApi(clock.now), runtime, clock)
        await runtime.close()
    shutil.rmtree(directory, ignore_errors=True)


def shell(script: str, name: str, **fields: Any) -> Object:
    spec = container(command=["sh", "-c", script], **fields.pop("container", {}))
    return pod(spec, name=name, uid=f"uid-{name}", terminationGracePeriodSeconds=1, **fields)


class TestContainerd(RuntimeContract):
    @pytest_asyncio.fixture(loop_scope="module")
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

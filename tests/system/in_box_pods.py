"""What pods may ask of the node, on real containers: run by `test_node_containerd.py`, inside a box that it makes."""

from __future__ import annotations

import asyncio
import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container
from tests.node.fake_driver import FakeDriver
from tests.node.fake_plugin import RESOURCE, FakePlugin
from tests.system.boxed import Node, real_time, shell
from timonel.aio.lifecycle import running
from timonel.node import cpus
from timonel.node.volumes import mounts as system
from timonel.objects import pods as podlib

pytestmark = real_time
DEFAULT = {"namespace": "default"}


async def test_a_pod_that_is_stopped_stays_ready_as_long_as_its_probe_passes(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "touch /ready; trap 'sleep 2; rm /ready; sleep 3; exit 0' TERM; while true; do sleep 0.1; done"

    def is_ready() -> bool:
        return podlib.is_ready(node.api.find("pods", "default", "leaving") or {})

    async with running(node.agent()):
        node.api.put("pods", shell(script, "leaving", container={"readinessProbe": probe}))
        await node.api.until(is_ready)
        node.api.mark_deleted("default", "leaving", 10)
        await asyncio.sleep(1.5)
        at_first = is_ready()
        await node.api.until(lambda: not is_ready())
        is_there = node.api.find("pods", "default", "leaving") is not None
        await node.delete("leaving", 1)

    assert (at_first, is_there) == (True, True)


async def test_who_writes_where(node: Node, tmp_path: Path) -> None:
    node.api.put("configmaps", {"metadata": {"name": "fixed", **DEFAULT}, "data": {"k": "v"}})
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": "fixed", "defaultMode": 0o400}},
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
    ]
    mounts = [
        {"name": "config", "mountPath": "/config"},
        {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/sub", "subPathExpr": "$(WHO)/x"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "host", "mountPath": "/frozen", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]
    fields = {
        "volumeMounts": mounts,
        "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['who']"}}}],
    }
    wanted = shell("sleep 1000", "writer", container=fields, volumes=volumes)
    async with running(node.agent()):
        node.api.put("pods", wanted)
        await node.until("writer", "missing value for WHO")
        wanted["metadata"]["annotations"] = {"who": "me"}
        node.api.put("pods", wanted)
        await node.until("writer", '"running"')
        tried = await node.run(
            "writer",
            "sh",
            "-c",
            "cd /; for d in config disk sub memory frozen; do touch $d/x && echo $d; done",
        )
        modes = await node.run("writer", "stat", "-L", "-c", "%n %a", "/disk", "/memory", "/sub", "/config/k")
        seen = await node.run("writer", "sh", "-c", "ls /disk/me/x; mount | grep ' /frozen '")
        await node.delete("writer")

    lines = tried.splitlines()
    assert {"disk", "sub", "memory"} == {line for line in lines if " " not in line}
    assert sum("Read-only file system" in line for line in lines) == 2
    assert modes.split() == ["/disk", "777", "/memory", "777", "/sub", "777", "/config/k", "400"]
    assert seen.startswith("x\n")
    assert "(ro," in seen


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file system mounted in it."""
    below = tmp_path / "below"
    below.mkdir()
    system.mount_tmpfs(below)
    (below / "kept").write_text("kept")
    yield tmp_path
    system.unmount(below)


async def test_what_is_mounted_below_a_frozen_mount_is_frozen_too(node: Node, nested: Path) -> None:
    volumes = [{"name": "host", "hostPath": {"path": str(nested)}}]
    mounts = [{"name": "host", "mountPath": "/r", "readOnly": True, "recursiveReadOnly": "Enabled"}]
    async with running(node.agent()):
        node.api.put("pods", shell("sleep 9", "frozen", container={"volumeMounts": mounts}, volumes=volumes))
        await node.until("frozen", '"running"')
        tried = await node.run("frozen", "touch", "/r/below/x")
        shown = node.main("frozen")["volumeMounts"][0]
        await node.delete("frozen")

    assert (nested / "below" / "kept").read_text() == "kept"
    assert "Read-only file system" in tried
    assert shown["recursiveReadOnly"] == "Enabled"


async def test_the_downward_api_follows_the_pod(node: Node) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {
            "path": "cpu",
            "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"},
        },
    ]
    volumes = [{"name": "v", "downwardAPI": {"items": items}}]
    fields = {
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"limits": {"cpu": "250m"}},
    }
    wanted = shell("sleep 1000", "told", container=fields, volumes=volumes)
    wanted["metadata"]["labels"] = {"a": "1"}
    async with running(node.agent()):
        node.api.put("pods", wanted)
        await node.until("told", '"running"')
        before = await node.run("told", "sh", "-c", "cat /v/labels; echo; cat /v/cpu")
        changed = copy.deepcopy(node.api.find("pods", "default", "told"))
        assert changed is not None
        changed["metadata"]["labels"] = {"a": "2"}
        node.api.put("pods", changed)
        await asyncio.sleep(0.5)
        after = await node.run("told", "cat", "/v/labels")
        await node.delete("told")

    assert before == 'a="1"\n250'
    assert after == 'a="2"'


async def test_a_container_for_debugging_sees_the_other_s_processes(node: Node) -> None:
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1234", "patient"))
        await node.until("patient", '"running"')
        debugged = copy.deepcopy(node.api.find("pods", "default", "patient"))
        assert debugged is not None
        look = "ps; touch /proc/1/root/seen"
        debugged["spec"]["ephemeralContainers"] = [
            {**container("debug", command=["sh", "-c", look]), "targetContainerName": "main"}
        ]
        node.api.put("pods", debugged)
        await node.api.until(
            lambda: "terminated" in json.dumps(node.status("patient").get("ephemeralContainerStatuses"))
        )
        seen = node.log("patient", container="debug")
        touched = await node.run("patient", "ls", "/seen")
        await node.delete("patient")

    assert "sleep 1234" in seen
    assert touched == "/seen\n"


async def test_sidecars_start_first_and_end_last(node: Node, tmp_path: Path) -> None:
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path)}}]

    def part(name: str, **fields: Any) -> dict[str, Any]:
        script = (
            f"echo start {name} >> /log/log; trap 'echo end {name} >> /log/log; exit 0' TERM; "
            "while true; do sleep 0.05; done"
        )
        mounts = [{"name": "host", "mountPath": "/log"}]
        return container(name, command=["sh", "-c", script], volumeMounts=mounts, **fields)

    first = container(
        "first",
        command=["sh", "-c", "echo first >> /log/log"],
        volumeMounts=[{"name": "host", "mountPath": "/log"}],
    )
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /log/log; sleep 0.3"]}}}
    inits = [
        part("one", restartPolicy="Always", lifecycle=hook),
        first,
        part("two", restartPolicy="Always"),
    ]
    wanted = shell("", "crew", initContainers=inits, volumes=volumes)
    wanted["spec"]["containers"] = [part("main")]
    async with running(node.agent()):
        node.api.put("pods", wanted)
        await node.api.until(
            lambda: (tmp_path / "log").exists() and "start main" in (tmp_path / "log").read_text()
        )
        await node.delete("crew", 10)

    lines = (tmp_path / "log").read_text().splitlines()
    starts = [line for line in lines if line.startswith(("start", "first"))]
    ends = [line for line in lines if line.startswith("end")]
    assert starts == ["start one", "first", "start two", "start main"]
    assert ends == ["end main", "end two", "end one"]
    assert "hook" in lines


async def test_what_the_node_sets_in_the_kernel(node: Node) -> None:
    sysctls = [{"name": "net/ipv4/ip_unprivileged_port_start", "value": "80"}]
    wanted = shell(
        "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep Seccomp: /proc/self/status",
        "kernel",
        securityContext={"sysctls": sysctls, "seccompProfile": {"type": "RuntimeDefault"}},
        subdomain="sub",
        setHostnameAsFQDN=True,
        restartPolicy="Never",
    )
    async with running(node.agent()):
        node.api.put("pods", wanted)
        await node.until("kernel", '"Succeeded"')
        text = node.log("kernel")
        await node.delete("kernel")

    assert text.split() == ["kernel.sub.default.svc.cluster.local", "80", "Seccomp:", "2"]


@pytest.mark.parametrize("handler", ["runc", "nothing"])
async def test_runtime_classes_name_handlers(node: Node, handler: str) -> None:
    node.api.put("runtimeclasses", {"metadata": {"name": handler}, "handler": handler})
    async with running(node.agent()):
        node.api.put("pods", shell("sleep 9", handler, runtimeClassName=handler))
        if handler == "runc":
            await node.until(handler, '"running"')
        else:
            await node.api.until(lambda: node.api.events(handler))
        events = node.api.events(handler)
        await node.delete(handler)

    if handler == "nothing":
        assert events[0][0] == "FailedCreatePodSandBox"
        assert 'no runtime for "nothing" is configured' in events[0][1]


async def test_a_running_container_gets_more_and_less(node: Node) -> None:
    def sized(cpu: str, memory: str) -> dict[str, Any]:
        amounts = {"cpu": cpu, "memory": memory}
        return {"requests": amounts, "limits": amounts}

    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    read = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory/memory.limit_in_bytes"
    fields = {"resources": sized("100m", "64Mi"), "resizePolicy": policy}
    wanted = shell("exec sleep 1000", "sized", container=fields)
    wanted["status"]["qosClass"] = "Guaranteed"
    seen = list[tuple[list[str], int]]()

    def is_done(cpu: str, memory: str) -> bool:
        in_force = node.main("sized").get("resources")
        return in_force == sized(cpu, memory) and "PodResize" not in json.dumps(node.status("sized"))

    async with running(node.agent()):
        node.api.put("pods", wanted)
        await node.until("sized", '"running"')
        for number, (cpu, memory) in enumerate([("500m", "64Mi"), ("200m", "64Mi"), ("300m", "128Mi")]):
            found = copy.deepcopy(node.api.find("pods", "default", "sized"))
            assert found is not None
            found["spec"]["containers"][0]["resources"] = sized(cpu, memory)
            found["metadata"]["generation"] = number + 2
            node.api.put("pods", found)
            async with asyncio.timeout(20):
                await node.api.until(lambda c=cpu, m=memory: is_done(c, m))
            await node.until("sized", '"running"')
            texts = await node.run("sized", "sh", "-c", read)
            seen.append((texts.split(), node.main("sized")["restartCount"]))
        await node.delete("sized")

    assert seen == [
        (["50000", str(64 << 20)], 0),
        (["20000", str(64 << 20)], 0),
        (["30000", str(128 << 20)], 1),
    ]


async def test_a_pod_of_the_node_s_own(node: Node) -> None:
    manifests = node.directory / "n" / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    wanted = shell("echo hello; exec sleep 1000", "own")
    del wanted["status"], wanted["metadata"]["uid"], wanted["spec"]["nodeName"]
    async with running(node.agent()):
        (manifests / "own.json").write_text(json.dumps(wanted))
        await node.until("own-n1", '"running"')
        read = await node.run("own-n1", "hostname")
        (manifests / "own.json").unlink()
        await node.api.until(lambda: node.api.find("pods", "default", "own-n1") is None)

    assert read == "own-n1\n"


async def test_a_volume_of_a_csi_driver(node: Node, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept\n")

    def mount(target: Path) -> None:
        target.mkdir(exist_ok=True)
        opened = os.open(tmp_path, os.O_PATH)
        system.bind(opened, target)
        os.close(opened)

    def unmount(target: Path) -> None:
        system.unmount(target)
        target.rmdir()

    driver = FakeDriver("fake.example.com", mount=mount, unmount=unmount)
    registry = node.directory / "n" / "plugins_registry"
    registry.mkdir(parents=True, exist_ok=True)
    csi = {"driver": driver.name, "volumeHandle": "h1"}
    ref = {"name": "c", "namespace": "default", "uid": "claim"}
    spec = {"accessModes": ["ReadWriteOnce"], "claimRef": ref, "csi": csi}
    node.api.put("csidrivers", {"metadata": {"name": driver.name}, "spec": {"attachRequired": False}})
    node.api.put("persistentvolumes", {"metadata": {"name": "pv-csi"}, "spec": spec})
    claim = {"metadata": ref, "spec": {"volumeName": "pv-csi"}, "status": {"phase": "Bound"}}
    node.api.put("persistentvolumeclaims", claim)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    fields = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    async with driver.serving(registry):
        async with running(node.agent()):
            node.api.put("pods", shell("exec sleep 1000", "stored", container=fields, volumes=volumes))
            await node.until("stored", '"running"')
            await node.run("stored", "sh", "-c", "cat /v/kept > /v/written")
        async with running(node.agent()):  # another life of the agent gives it back
            await node.delete("stored")

    assert (tmp_path / "written").read_text() == "kept\n"
    assert driver.methods() == [
        "NodeStageVolume",
        "NodePublishVolume",
        "NodeUnpublishVolume",
        "NodeUnstageVolume",
    ]


async def test_devices_and_processors_of_its_own(node: Node, tmp_path: Path) -> None:
    def sized(**more: str) -> dict[str, Any]:
        amounts = {"cpu": "1", "memory": "32Mi", **more}
        return {"resources": {"requests": amounts, "limits": amounts}}

    (tmp_path / "dongles").write_text("plugged in\n")
    plugin = FakePlugin(("d1",), tmp_path / "dongles")
    allowed = "grep Cpus_allowed_list /proc/self/status"
    look = f"cat /dongles; echo $DONGLES; head -c 3 /dev/dongle | wc -c; {allowed}; exec sleep 1000"
    own = shell(look, "own", container=sized(**{RESOURCE: "1"}))
    own["status"]["qosClass"] = "Guaranteed"
    one = {RESOURCE: "1"}
    greedy = shell("sleep 9", "greedy", container={"resources": {"requests": one, "limits": one}})
    online = sorted(os.sched_getaffinity(0))
    async with (
        running(node.agent(cpu_policy="static", reserved={"cpu": 1000})),
        plugin.serving(node.directory / "n" / "device-plugins"),
    ):
        node.api.put("pods", shell("exec sleep 1000", "shared"))
        await node.until("shared", '"running"')
        await asyncio.sleep(0.3)
        node.api.put("pods", own)
        await node.until("own", '"running"')
        await asyncio.sleep(0.3)
        told = node.log("own").split("\n")
        before = await node.run("shared", "sh", "-c", allowed)
        node.api.put("pods", greedy)
        await node.until("greedy", "UnexpectedAdmissionError")
        await node.delete("greedy")
        await node.delete("own")
        await asyncio.sleep(0.3)
        after = await node.run("shared", "sh", "-c", allowed)
        await node.delete("shared")

    assert told[:3] == ["plugged in", "d1", "3"]
    mine = cpus.parsed(told[3].split()[1])
    assert len(mine) == 1
    assert cpus.parsed(before.split()[1]) == set(online) - mine
    assert cpus.parsed(after.split()[1]) == set(online)


async def test_an_image_s_files_as_a_volume(node: Node) -> None:
    wanted = {"reference": "busybox", "pullPolicy": "IfNotPresent"}
    volumes = [
        {"name": "files", "image": wanted},
        {"name": "none", "image": {"reference": "no/such:image", "pullPolicy": "Never"}},
    ]
    mounts = [
        {"name": "files", "mountPath": "/image"},
        {"name": "files", "mountPath": "/etc-of-it", "subPath": "etc"},
    ]
    fields = {"volumeMounts": mounts}
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1000", "shown", container=fields, volumes=volumes[:1]))
        node.api.put("pods", shell("exec sleep 1000", "unseen", volumes=volumes[1:]))
        await node.until("shown", '"running"')
        read = await node.run("shown", "sh", "-c", "cat /image/etc/passwd /etc-of-it/passwd; touch /image/x")
        await node.api.until(lambda: any(reason == "FailedMount" for reason, _ in node.api.events("unseen")))
        events = node.api.events("unseen")
        await node.delete("shown")
        await node.delete("unseen")

    assert read.count("root:x:0:0:root:/root:/bin/sh\n") == 2
    assert "Read-only file system" in read
    assert any("ErrImageNeverPull" in message for reason, message in events if reason == "FailedMount")


async def test_classes_of_pods_share_the_processors(node: Node) -> None:
    top = Path("/sys/fs/cgroup/cpu/kubepods-n1")

    def shares() -> list[str]:
        return [(top / name / "cpu.shares").read_text().strip() for name in ("burstable", "besteffort")]

    fields = {"resources": {"requests": {"cpu": "500m"}}}
    wanted = shell("exec sleep 1000", "some", container=fields)
    wanted["status"]["qosClass"] = "Burstable"
    async with running(node.agent()):
        node.api.put("pods", wanted)
        await node.until("some", '"running"')
        with_it = shares()
        await node.delete("some")
        is_given_back = await node.settle(lambda: shares() == ["2", "2"])

    assert with_it == ["512", "2"]
    assert is_given_back

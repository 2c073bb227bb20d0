"""A node on real containers for the tests that run inside a box: containerd, an agent, an API server of a dictionary.

A plugin of pytest, which `test_node_containerd.py` names.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.node.builders import container, pod
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
real_time = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.looptime(False)]


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

    def agent(self, **settings: Any) -> NodeAgent:
        config = NodeConfig("n1", ADDRESS, self.directory / "n", "10.244.1.0/24", ("10.96.0.10",), **settings)
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
        """Until nothing of it is on the machine either."""
        uid = (self.api.find("pods", "default", name) or {})["metadata"]["uid"]
        self.api.mark_deleted("default", name, grace)
        async with asyncio.timeout(30):
            await self.api.until(lambda: self.api.find("pods", "default", name) is None)
        await self.settle(lambda: not any(uid in trace for trace in self.traces()))

    @staticmethod
    async def settle(check: Callable[[], bool], seconds: float = 5) -> bool:
        """Whether it comes true; for what nobody tells of."""
        for _ in range(int(seconds * 20)):
            if check():
                return True
            await asyncio.sleep(0.05)
        return False

    async def run(self, name: str, *command: str) -> str:
        container_id = self.main(name)["containerID"].partition("://")[2]
        result = await self.runtime.exec_sync(container_id, command)
        return (result.stdout + result.stderr).decode()

    def traces(self) -> set[str]:
        """What pods have left on the machine: directories, mounts, cgroups, network namespaces, addresses."""
        home = self.directory / "n"
        found = {str(path) for name in ("pods", "logs", "log-links") for path in (home / name).glob("*")}
        found |= {str(path) for path in mounts.mounts_below(self.directory) if "rootfs" in path.parts}
        found |= {str(path) for path in mounts.mounts_below(home)}
        found |= {str(path) for path in mounts.mounts_below(self.directory) if "netns" in path.parts}
        found |= {f"cgroup of {uid}" for uid in cgroups.pods_of("/kubepods-n1")}
        found |= {str(p) for p in (self.directory / "c" / "cni" / "ipam").glob("*/[0-9]*")}
        return found

    def log(self, name: str, attempt: int = 0, container: str = "main") -> str:
        found = self.api.find("pods", "default", name)
        assert found is not None
        folder = self.directory / "n" / "logs" / f"default_{name}_{found['metadata']['uid']}"
        lines = (folder / container / f"{attempt}.log").read_text().splitlines()
        return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
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
    cgroups.remove("/kubepods-n1")
    shutil.rmtree(directory, ignore_errors=True)


def shell(script: str, name: str, **fields: Any) -> Object:
    spec = container(command=["sh", "-c", script], **fields.pop("container", {}))
    return pod(spec, name=name, uid=f"uid-{name}", terminationGracePeriodSeconds=1, **fields)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def nothing_is_left(node: Node) -> AsyncIterator[None]:
    """After each test the machine is as it was before."""
    before = node.traces()
    yield
    if not await node.settle(lambda: node.traces() <= before):
        pytest.fail(f"left behind: {sorted(node.traces() - before)}")

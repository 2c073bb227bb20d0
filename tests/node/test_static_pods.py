"""Static pods: their manifests, and the whole agent on the simulated runtime with a folder of them."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import MACHINE
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.transport import Unreachable
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.manifests import HASH, MIRROR, SOURCE, BadManifest, is_mirror_of, mirror_of, static_pod
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.objects.meta import Object

TEXT = """\
apiVersion: v1
kind: Pod
metadata: {name: own, namespace: kube-system, labels: {app: own}}
spec:
  priorityClassName: system-node-critical
  containers:
  - {name: main, image: busybox, resources: {limits: {cpu: 100m}}}
"""
NODE = {"metadata": {"name": "n1", "uid": "node-uid"}}


def made(text: str = TEXT, file: str = "own.yaml") -> Object:
    return static_pod(text, file=file, node="n1", now=1_800_000_000.0)


def test_what_a_manifest_says() -> None:
    found = made()

    meta, spec = found["metadata"], found["spec"]
    assert (meta["name"], meta["namespace"]) == ("own-n1", "kube-system")
    assert (meta["annotations"][HASH], meta["annotations"][SOURCE]) == (meta["uid"], "file")
    assert (spec["nodeName"], spec["priority"], spec["restartPolicy"]) == ("n1", 2_000_001_000, "Always")
    assert spec["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "100m"}


def test_another_text_is_another_pod() -> None:
    assert made()["metadata"]["uid"] == made()["metadata"]["uid"]
    assert made()["metadata"]["uid"] != made(TEXT + "\n")["metadata"]["uid"]
    assert made()["metadata"]["uid"] != made(file="other.yaml")["metadata"]["uid"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "kind: Pod",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {}\nspec: {}",
        "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{name: a, image: b}]}",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: []}",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: 3}",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: A, image: b}]}",
    ],
)
def test_what_is_no_manifest(text: str) -> None:
    with pytest.raises(BadManifest):
        made(text)


def test_what_the_api_server_is_shown() -> None:
    static = made()
    mirror = mirror_of(static, NODE)

    meta = mirror["metadata"]
    assert "uid" not in meta
    assert meta["annotations"][MIRROR] == static["metadata"]["uid"]
    [owner] = meta["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "Node",
        "n1",
        "node-uid",
        True,
    )
    assert is_mirror_of(mirror, static)
    assert not is_mirror_of(mirror, made(TEXT + "\n"))


# ---- the agent

real_time = pytest.mark.looptime(False)
Agent = Callable[[], AbstractAsyncContextManager[None]]


class Station:
    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.api = FakeApi(self.clock.now)
        self.runtime = SimulatedRuntime(self.clock)
        self.folder = folder

    def agent(self) -> AbstractAsyncContextManager[None]:
        config = NodeConfig(
            "n1", "10.0.0.1", self.folder, is_simulated=True, machine=MACHINE, static_pods=self.folder
        )
        return running(NodeAgent(config, self.api, self.runtime, self.clock))

    def mirror(self) -> Object:
        return self.api.find("pods", "kube-system", "own-n1") or {}

    async def until(self, check: Callable[[], Any]) -> Any:
        async with asyncio.timeout(10):
            return await self.api.until(check)

    async def until_running(self) -> Object:
        await self.until(lambda: (self.mirror().get("status") or {}).get("phase") == "Running")
        return self.mirror()

    async def containers(self) -> list[tuple[str, int]]:
        return [(c.image, c.attempt) for c in await self.runtime.list_containers()]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    (tmp_path / "own.yaml").write_text(TEXT)
    (tmp_path / "broken.yaml").write_text("kind: [")
    (tmp_path / ".hidden.yaml").write_text(TEXT)
    return Station(tmp_path)


@real_time
async def test_a_static_pod_runs_and_is_shown(station: Station) -> None:
    async with station.agent():
        mirror = await station.until_running()
        await station.until(lambda: station.mirror()["status"]["containerStatuses"][0]["ready"])

    assert mirror["metadata"]["annotations"][MIRROR] == made()["metadata"]["uid"]


@real_time
async def test_a_mirror_that_is_deleted_comes_back_and_nothing_restarts(station: Station) -> None:
    async with station.agent():
        first = await station.until_running()
        station.api.mark_deleted("kube-system", "own-n1", 30)
        await station.until(
            lambda: station.mirror() and station.mirror()["metadata"]["uid"] != first["metadata"]["uid"]
        )
        await station.until_running()
        found = await station.containers()

    assert [attempt for _, attempt in found] == [0]


@real_time
async def test_a_changed_manifest_is_another_pod_and_a_removed_one_none(station: Station) -> None:
    async with station.agent():
        await station.until_running()
        (station.folder / "own.yaml").write_text(TEXT.replace("busybox", "nginx"))
        await station.until(
            lambda: (station.mirror().get("spec") or {}).get("containers", [{}])[0].get("image") == "nginx"
        )
        await station.until_running()
        changed = await station.containers()
        (station.folder / "own.yaml").unlink()
        await station.until(lambda: not station.mirror())
        left = await station.runtime.list_sandboxes()

    assert len(changed) == 1
    assert left == []


@real_time
async def test_a_restarted_agent_finds_its_static_pods_again(station: Station) -> None:
    async with station.agent():
        first = await station.until_running()
    async with station.agent():
        await asyncio.sleep(0.5)
        found = await station.containers()

    assert [attempt for _, attempt in found] == [0]
    assert station.mirror()["metadata"]["uid"] == first["metadata"]["uid"]


@real_time
async def test_mirrors_of_what_is_not_there_any_more_are_removed(station: Station) -> None:
    stray = {**pod(name="stray"), "metadata": {**pod(name="stray")["metadata"], "annotations": {MIRROR: "x"}}}
    station.api.put("pods", copy.deepcopy(stray))
    async with station.agent():
        await station.until(lambda: station.api.find("pods", "default", "stray") is None)


@real_time
async def test_static_pods_run_without_the_api_server(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*args: Any, **kwargs: Any) -> Any:
        raise Unreachable("nobody there")

    for name in ("get", "list", "create", "patch"):
        monkeypatch.setattr(station.api, name, unreachable)
    agent = asyncio.ensure_future(_hold(station.agent()))
    for _ in range(100):
        found = await station.runtime.list_containers()
        if any(str(c.state) == "running" for c in found):
            break
        await asyncio.sleep(0.05)
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)

    assert [str(c.state) for c in found] == ["running"]


async def _hold(context: AbstractAsyncContextManager[None]) -> None:
    async with context:
        await asyncio.Event().wait()

"""What the node does beside pods, on real containers: run by `test_node_containerd.py`, inside a box."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from pathlib import Path
from typing import Any

import yaml

from tests.node.builders import container
from tests.node.fake_plugin import RESOURCE, FakePlugin
from tests.system.boxed import Node, real_time, shell
from tests.system.in_box_faults import processes
from tests.system.small_registry import SmallRegistry
from timonel.aio.lifecycle import running
from timonel.node import cgroups, cpus, machine
from timonel.node.imagesettings import ImageSettings
from timonel.node.shutdownplan import MESSAGE, Period

pytestmark = real_time


def of(image: str, name: str, script: str = "exec sleep 1000", **spec: Any) -> Any:
    found = shell(script, name, **spec)
    found["spec"]["containers"][0]["image"] = image
    return found


async def test_pods_end_before_the_machine_does(node: Node, tmp_path: Path) -> None:
    agent = node.agent(shutdown=(Period(0, 10), Period(2_000_000_000, 10)))
    volumes = [{"name": "v", "hostPath": {"path": str(tmp_path)}}]
    fields = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    script = "trap 'sleep 0.5; echo {} >> /v/order; exit 0' TERM; touch /v/{}; while :; do sleep 0.05; done"
    async with running(agent):
        for name, priority in (("plain", 0), ("vital", 2_000_000_000)):
            wanted = shell(
                script.format(name, name), name, container=fields, volumes=volumes, priority=priority
            )
            wanted["spec"]["terminationGracePeriodSeconds"] = 5
            node.api.put("pods", wanted)
            await node.until(name, '"running"')
            assert await node.settle((tmp_path / name).exists)
        agent.shut_down()
        await node.until("vital", '"Failed"')
        told = [node.status(name)["message"] for name in ("plain", "vital")]
        codes = [node.main(name)["state"]["terminated"]["exitCode"] for name in ("plain", "vital")]
        await node.delete("plain")
        await node.delete("vital")

    assert (tmp_path / "order").read_text() == "plain\nvital\n"
    assert told == [MESSAGE, MESSAGE]
    assert codes == [0, 0]


async def test_a_program_gives_the_password_of_a_registry(node: Node, tmp_path: Path) -> None:
    registry = SmallRegistry("guarded", password="geheim")
    answer = {
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Registry",
        "auth": {"127.0.0.1:*": {"username": "user", "password": "geheim"}},
    }
    provider = {
        "name": "helper",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": ["127.0.0.1:*"],
        "defaultCacheDuration": "1h",
    }
    config = {
        "kind": "CredentialProviderConfig",
        "apiVersion": "kubelet.config.k8s.io/v1",
        "providers": [provider],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "helper").write_text(f"#!/bin/sh\ncat > {tmp_path}/asked; echo '{json.dumps(answer)}'\n")
    (tmp_path / "helper").chmod(0o755)
    settings = ImageSettings(providers=tmp_path / "config.yaml", programs=tmp_path)
    async with registry.serving():
        async with running(node.agent()):
            node.api.put("pods", of(registry.image, "stranger"))
            await node.until("stranger", "ErrImagePull")
            await node.delete("stranger")
        async with running(node.agent(images=settings)):
            node.api.put("pods", of(registry.image, "known"))
            await node.until("known", '"running"')
            events = node.api.events("known")
            await node.delete("known")
    await node.runtime.remove_image(registry.image)

    asked = json.loads((tmp_path / "asked").read_text())
    assert asked["image"] == registry.image.removesuffix(":1")
    pulled = [message for reason, message in events if reason == "Pulled"]
    assert pulled[0].startswith(f'Successfully pulled image "{registry.image}" in ')
    assert "including waiting). Image size: " in pulled[0]


async def test_a_secret_gives_the_password_of_a_registry_and_nobody_else_the_image(node: Node) -> None:
    registry = SmallRegistry("secret", password="geheim")
    async with registry.serving():
        entry = {"username": "user", "password": "geheim"}
        config = json.dumps({"auths": {f"127.0.0.1:{registry.port}": entry}})
        data = {".dockerconfigjson": base64.b64encode(config.encode()).decode()}
        node.api.put("secrets", {"metadata": {"namespace": "default", "name": "pull"}, "data": data})
        async with running(node.agent()):
            node.api.put("pods", of(registry.image, "trusted", imagePullSecrets=[{"name": "pull"}]))
            await node.until("trusted", '"running"')
            node.api.put("pods", of(registry.image, "stranger"))
            await node.until("stranger", "ErrImagePull")
            await node.delete("stranger")
            await node.delete("trusted")
    await node.runtime.remove_image(registry.image)


async def test_a_pull_that_stalls_holds_up_nobody_else_and_can_be_given_up(node: Node) -> None:
    registry = SmallRegistry("slow", stalls=True)
    async with registry.serving(), running(node.agent()):
        node.api.put("pods", of(registry.image, "stalled"))
        async with asyncio.timeout(20):
            await registry.stalled.wait()
        node.api.put("pods", shell("exec sleep 1000", "other"))
        await node.until("other", '"running"')
        begun = node.clock.monotonic()
        await node.delete("stalled")
        took = node.clock.monotonic() - begun
        await node.delete("other")
        registry.stalls = False
        node.api.put("pods", of(registry.image, "again"))
        await node.until("again", '"running"')
        await node.delete("again")
    await node.runtime.remove_image(registry.image)

    assert took < 5


async def test_a_containerd_that_hangs_for_a_while_costs_nothing_but_time(node: Node) -> None:
    config = str(node.directory / "c" / "config.toml")
    [hanging] = processes(lambda words: config in words)
    async with running(node.agent()):
        node.api.put("pods", shell("sleep 2; exit 1", "ends"))
        node.api.put("pods", shell("exec sleep 1000", "stays"))
        node.api.put("pods", shell("exec sleep 1000", "goes"))
        for name in ("ends", "stays", "goes"):
            await node.until(name, '"running"')
        before = node.main("stays")
        os.kill(hanging, signal.SIGSTOP)
        try:
            node.api.put("pods", shell("exec sleep 1000", "comes"))
            node.api.mark_deleted("default", "goes", 0)
            await asyncio.sleep(3)
        finally:
            os.kill(hanging, signal.SIGCONT)
        await node.until("comes", '"running"')
        await node.until("ends", '"restartCount": 1')
        async with asyncio.timeout(20):
            await node.api.until(lambda: node.api.find("pods", "default", "goes") is None)
        after = node.main("stays")
        for name in ("ends", "stays", "comes"):
            await node.delete(name)

    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)


async def test_what_a_pod_was_promised_outlives_an_agent_that_dies_before_its_last_container(
    node: Node, tmp_path: Path
) -> None:
    (tmp_path / "dongles").write_text("plugged in\n")
    amounts = {"cpu": "1", "memory": "32Mi", RESOURCE: "1"}
    own = shell("cat /dongles; grep Cpus_allowed_list /proc/self/status; exec sleep 1000", "promised")
    own["status"]["qosClass"] = "Guaranteed"
    own["spec"]["containers"][0]["resources"] = {"requests": amounts, "limits": amounts}
    small = {"cpu": "100m", "memory": "32Mi"}
    script = "while ! [ -e /v/go ]; do sleep 0.1; done"
    mount = [{"name": "v", "mountPath": "/v"}]
    first = container("first", command=["sh", "-c", script], volumeMounts=mount)
    own["spec"]["initContainers"] = [first | {"resources": {"requests": small, "limits": small}}]
    own["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": str(tmp_path)}}]
    settings: dict[str, Any] = {"cpu_policy": "static", "reserved": {"cpu": 1000}}
    plugins = node.directory / "n" / "device-plugins"
    async with (
        running(node.agent(**settings)),
        FakePlugin(("d1", "d2"), tmp_path / "dongles").serving(plugins),
    ):
        await asyncio.sleep(0.3)
        node.api.put("pods", own)
        await node.until("promised", '"running"')
    (tmp_path / "go").touch()
    async with (
        running(node.agent(**settings)),
        FakePlugin(("d1", "d2"), tmp_path / "dongles").serving(plugins),
    ):
        async with asyncio.timeout(40):
            await node.api.until(lambda: "running" in node.main("promised")["state"])
        await asyncio.sleep(0.3)
        told = node.log("promised").split("\n")
        await node.delete("promised")

    assert told[0] == "plugged in"
    assert len(cpus.parsed(told[1].split()[1])) == 1
    assert json.loads((plugins / "allocations.json").read_text()) == {}
    assert json.loads((node.directory / "n" / "cpu_manager_state").read_text()) == {}


async def test_all_pods_together_get_no_more_than_what_is_not_reserved(node: Node) -> None:
    memory = cgroups.ROOT / ("" if cgroups.is_unified() else "memory") / "kubepods-n1"
    limit = memory / ("memory.max" if cgroups.is_unified() else "memory.limit_in_bytes")
    whole = machine.read("n1", node.directory).memory
    async with running(node.agent(reserved={"memory": whole - (64 << 20)})):
        bounded = limit.read_text().strip()
        node.api.put("pods", shell("x=a; while true; do x=$x$x; done", "greedy", restartPolicy="Never"))
        await node.until("greedy", '"Failed"')
        ended = node.main("greedy")["state"]["terminated"]
        await node.delete("greedy")
    async with running(node.agent()):
        freed = limit.read_text().strip()

    assert bounded == str(64 << 20)
    assert ended["exitCode"] == 137
    assert freed == "max" or int(freed) > whole

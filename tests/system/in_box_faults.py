"""What may go wrong below and in a pod, on real containers: run by `test_node_containerd.py`, inside a box.

Nothing is left behind after any of it: `boxed.nothing_is_left` looks.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.boxed import Node, real_time, shell
from timonel.aio.lifecycle import running
from timonel.client.transport import Unreachable

pytestmark = real_time


def processes(fits: Callable[[list[str]], bool]) -> list[int]:
    """Whose command line fits."""
    found = list[int]()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if fits(words):
            found.append(int(place.name))
    return found


async def sandbox_of(node: Node, name: str) -> str:
    [found] = [s.id for s in await node.runtime.list_sandboxes() if s.name == name]
    return found


def is_back(node: Node, name: str) -> bool:
    """Runs again, and says that it was restarted."""
    main = node.main(name)
    return bool("running" in main["state"] and main["restartCount"] == 1)


async def test_a_killed_shim_costs_its_pod_a_restart(node: Node) -> None:
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1001", "shimless"))
        await node.until("shimless", '"running"')
        sandbox = await sandbox_of(node, "shimless")
        [shim] = processes(lambda words: "containerd-shim" in words[0] and sandbox in words)
        os.kill(shim, signal.SIGKILL)
        async with asyncio.timeout(30):
            await node.api.until(lambda: is_back(node, "shimless"))
        sleeping = processes(lambda words: words[:2] == ["sleep", "1001"])
        await node.delete("shimless")

    assert len(sleeping) == 1


async def test_a_killed_pause_process_costs_its_pod_a_new_sandbox(node: Node) -> None:
    async with running(node.agent()):
        before = set(processes(lambda words: words[0].endswith("/catatonit")))
        node.api.put("pods", shell("exec sleep 1002", "pauseless"))
        await node.until("pauseless", '"running"')
        old = await sandbox_of(node, "pauseless")
        [pause] = set(processes(lambda words: words[0].endswith("/catatonit"))) - before
        os.kill(pause, signal.SIGKILL)
        async with asyncio.timeout(30):
            await node.api.until(lambda: is_back(node, "pauseless"))
        sleeping = processes(lambda words: words[:2] == ["sleep", "1002"])
        sandboxes = [s.id for s in await node.runtime.list_sandboxes() if s.name == "pauseless"]
        await node.delete("pauseless")

    assert len(sleeping) == 1
    assert sandboxes != [old]


async def test_a_probe_that_hangs_fails(node: Node) -> None:
    probe = {"exec": {"command": ["sleep", "1003"]}, "periodSeconds": 1, "failureThreshold": 1}
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1000", "hung", container={"livenessProbe": probe}))
        await node.until("hung", '"restartCount": 1')
        events = node.api.events("hung")
        await node.delete("hung")

    timed_out = [m for reason, m in events if reason == "Unhealthy" and "timed out after 1s" in m]
    assert timed_out
    assert processes(lambda words: words[:2] == ["sleep", "1003"]) == []


async def test_a_hook_that_never_ends_ends_with_the_grace_period(node: Node) -> None:
    hooks = {"preStop": {"exec": {"command": ["sleep", "1004"]}}}
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1000", "hooked", container={"lifecycle": hooks}))
        await node.until("hooked", '"running"')
        begun = node.clock.monotonic()
        await node.delete("hooked", 1)
        took = node.clock.monotonic() - begun

    assert took < 1 + 2 + 4  # what is left for the container after its hook; some room for a busy machine


async def test_a_pod_that_forks_without_end_hurts_nobody_else(node: Node) -> None:
    async with running(node.agent(pids_limit=60)):
        node.api.put("pods", shell("f() { f | f & }; f; sleep 1000", "bomb"))
        await node.until("bomb", '"running"')
        await asyncio.sleep(1)
        node.api.put("pods", shell("exec sleep 1000", "neighbour"))
        await node.until("neighbour", '"running"')
        answer = await node.run("neighbour", "echo", "well")
        await node.delete("neighbour")
        await node.delete("bomb")

    assert answer == "well\n"


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.3])
async def test_a_pod_that_is_deleted_while_it_starts(node: Node, delay: float) -> None:
    name = f"fleeting-{int(delay * 100)}"
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1000", name))
        await asyncio.sleep(delay)
        await node.delete(name)


async def test_pods_go_on_while_the_api_server_is_away(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*args: Any, **kwargs: Any) -> Any:
        raise Unreachable("connection refused")

    script = "[ -e /v/second ] && exec sleep 1000; touch /v/second; sleep 1; exit 1"
    volumes = [{"name": "v", "emptyDir": {}}]
    fields = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    async with running(node.agent()):
        node.api.put("pods", shell(script, "alone", container=fields, volumes=volumes))
        await node.until("alone", '"running"')
        with monkeypatch.context() as patched:
            for method in ("get", "list", "patch", "create", "update"):
                patched.setattr(node.api, method, away)
            await asyncio.sleep(2.5)
            told = node.main("alone")["restartCount"]
        async with asyncio.timeout(20):
            await node.api.until(lambda: is_back(node, "alone"))
        await node.delete("alone")

    assert told == 0


async def test_a_pod_whose_volumes_never_come_can_be_deleted(node: Node) -> None:
    volumes = [{"name": "v", "configMap": {"name": "nowhere"}}]
    fields = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    async with running(node.agent()):
        node.api.put("pods", shell("exec sleep 1000", "waiting", container=fields, volumes=volumes))
        await node.api.until(lambda: node.api.events("waiting"))
        await asyncio.sleep(0.5)
        begun = node.clock.monotonic()
        await node.delete("waiting")
        took = node.clock.monotonic() - begun
        events = node.api.events("waiting")

    assert took < 5
    why = 'MountVolume.SetUp failed for volume "v" : configmap "nowhere" not found'
    assert ("FailedMount", why) in events

"""Whichever call to the runtime breaks off, and however far it went: every pod runs, and every deleted one is gone."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from tests.node.builders import container, pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import MACHINE, LoopClock
from tests.node.unreliable import Fault, UnreliableRuntime
from timonel.aio.lifecycle import running
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import ContainerState, Runtime, SandboxState
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.objects.meta import Object

NAMES = ("one", "two", "three")
TO_START = ["image_status", "pull_image", "run_sandbox", "sandbox_status", "create_container", "start_container",
            "container_status"]  # fmt: skip
TO_END = [
    "list_sandboxes",
    "list_containers",
    "container_status",
    "stop_container",
    "stop_sandbox",
    "remove_sandbox",
]
BREAKS = [Fault.LOST, Fault.UNANSWERED, Fault.FAILED]


def a_pod(name: str) -> Object:
    return pod(
        container("main"),
        container("beside", lifecycle={"postStart": {"exec": {"command": ["true"]}}}),
        name=name,
        uid=f"uid-{name}",
        initContainers=[container("first")],
    )


class Node:
    def __init__(self) -> None:
        clock = LoopClock()
        self.api = FakeApi(clock.now)
        self.inner = SimulatedRuntime(clock)
        self.runtime = UnreliableRuntime(self.inner, clock)
        self._clock = clock

    def agent(self) -> NodeAgent:
        config = NodeConfig("n1", "10.0.0.1", Path("/nowhere"), is_simulated=True, machine=MACHINE)
        return NodeAgent(config, self.api, cast("Runtime", self.runtime), self._clock)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (self.api.find("pods", "default", name) or {}).get("status", {})
        return found

    async def all_ready(self) -> None:
        def are_ready() -> bool:
            statuses = [self.status(name).get("containerStatuses", []) for name in NAMES]
            return all(found and all(c["ready"] for c in found) for found in statuses)

        async with asyncio.timeout(60):
            await self.api.until(are_ready)

    async def all_gone(self) -> None:
        async with asyncio.timeout(120):
            await self.api.until(lambda: not self.api.objects("pods"))
        await asyncio.sleep(10)

    async def is_as_it_should_be(self) -> None:
        """One container of each runs, in one sandbox; nothing half made is left."""
        containers = await self.inner.list_containers()
        lives = Counter(
            (c.labels["io.kubernetes.pod.name"], c.name)
            for c in containers
            if c.state is ContainerState.RUNNING
        )
        assert lives == {(name, c): 1 for name in NAMES for c in ("main", "beside")}
        assert not [c for c in containers if c.state is ContainerState.CREATED]
        ready = Counter(s.name for s in await self.inner.list_sandboxes() if s.state is SandboxState.READY)
        assert ready == dict.fromkeys(NAMES, 1)


@pytest.fixture
async def node() -> Node:
    return Node()


def no_errors(caplog: pytest.LogCaptureFixture) -> None:
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("method", TO_START)
async def test_pods_start_although_a_call_broke_off(
    node: Node, method: str, fault: Fault, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(node.agent()):
        node.runtime.arm(method, fault, number if method != "pull_image" else 1)
        for name in NAMES:
            node.api.put("pods", a_pod(name))
        await node.all_ready()
        await asyncio.sleep(5)
        assert node.runtime.broken.is_set()
        await node.is_as_it_should_be()
        no_errors(caplog)


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("method", TO_END)
async def test_pods_are_cleared_away_although_a_call_broke_off(
    node: Node, method: str, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(node.agent()):
        for name in NAMES:
            node.api.put("pods", a_pod(name))
        await node.all_ready()
        await asyncio.sleep(1)
        node.runtime.arm(method, fault)
        for name in NAMES:
            node.api.mark_deleted("default", name, 30)
        await node.all_gone()
        assert node.runtime.broken.is_set()
        assert (await node.inner.list_sandboxes(), await node.inner.list_containers()) == ([], [])
        no_errors(caplog)


@pytest.mark.parametrize("method", ["stop_sandbox", "run_sandbox", "list_containers", "remove_container"])
@pytest.mark.parametrize("fault", BREAKS)
async def test_a_dead_sandbox_is_replaced_although_a_call_broke_off(
    node: Node, method: str, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(node.agent()):
        for name in NAMES:
            node.api.put("pods", a_pod(name))
        await node.all_ready()
        for round_ in range(3):  # old lives are removed from the third one on
            if round_ == 2 or method != "remove_container":
                node.runtime.arm(method, fault)
            for sandbox in await node.inner.list_sandboxes():
                await node.inner.stop_sandbox(sandbox.id)
            await asyncio.sleep(20)
            await node.all_ready()
        assert node.runtime.broken.is_set()
        await node.is_as_it_should_be()
        no_errors(caplog)
        counts = {c["restartCount"] for name in NAMES for c in node.status(name)["containerStatuses"]}

    assert min(counts) >= 3


@pytest.mark.parametrize("method", ["run_sandbox", "create_container", "start_container"])
async def test_pods_start_although_the_agent_was_killed_over_a_call(node: Node, method: str) -> None:
    async with running(node.agent()):
        node.runtime.arm(method, Fault.HANGS)
        for name in NAMES:
            node.api.put("pods", a_pod(name))
        await node.runtime.broken.wait()
    async with running(node.agent()):
        await node.all_ready()
        await asyncio.sleep(5)
        await node.is_as_it_should_be()


async def test_what_ends_while_the_runtime_does_not_answer_is_seen(node: Node) -> None:
    async with running(node.agent()):
        for name in NAMES:
            node.api.put("pods", a_pod(name))
        await node.all_ready()
        await asyncio.sleep(1)
        node.runtime.arm("exec_sync", Fault.LOST)
        with pytest.raises(RuntimeFailure):
            await node.runtime.exec_sync("any", [])
        for found in await node.inner.list_containers():
            await node.inner.stop_container(found.id, 0)
        begun = asyncio.get_running_loop().time()
        await node.api.until(
            lambda: all(c["restartCount"] for n in NAMES for c in node.status(n)["containerStatuses"])
        )
        took = asyncio.get_running_loop().time() - begun

    assert took < 10


async def test_a_container_that_vanished_goes_on_with_the_next_attempt(node: Node) -> None:
    async with running(node.agent()):
        for name in NAMES:
            node.api.put("pods", a_pod(name))
        await node.all_ready()
    for sandbox in await node.inner.list_sandboxes():
        await node.inner.remove_sandbox(sandbox.id)
    async with running(node.agent()):
        await node.api.until(
            lambda: all(c["restartCount"] for n in NAMES for c in node.status(n)["containerStatuses"])
        )
        await node.all_ready()
        await node.is_as_it_should_be()

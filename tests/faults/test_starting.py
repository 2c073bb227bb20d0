"""`timonel up` always ends: a server that hangs, dies or says that it failed, a node that does not become ready."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from timonel.aio.clock import SystemClock
from timonel.distro import launch, pki, processes, server
from timonel.distro.cluster import ADMIN, Cluster, Secrets, why_not_ready
from timonel.distro.config import ClusterConfig, NetworkConfig, load, paths_of
from timonel.distro.nodes import BoxedNode
from timonel.objects.meta import format_time
from timonel.store.memory import MemoryStore

CONFIG = ClusterConfig(name="late", port=1)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Something else than Timonel is started as the server: a shell script that gets the report's descriptor as $fd."""
    program = tmp_path / "server"
    started: list[subprocess.Popen[bytes]] = []
    spawn = processes.spawn

    def noted(*arguments: Any, **settings: Any) -> subprocess.Popen[bytes]:
        started.append(spawn(*arguments, **settings))
        return started[-1]

    def become(script: str) -> None:
        program.write_text(f"#!/bin/sh\nfor fd; do :; done\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(processes, "spawn", noted)

    yield become
    for process in started:
        process.kill()
        process.wait()


def tell(event: str) -> str:
    return f"echo '{event}' > /proc/self/fd/$fd"


def test_a_server_that_hangs_is_not_waited_for(
    tmp_path: Path, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tell('{"event": "done", "step": "api", "text": "API"}') + "; exec sleep 60")
    monkeypatch.setattr(launch, "START_WAIT", 1.0)
    reports: list[dict[str, Any]] = []
    begun = time.monotonic()

    with pytest.raises(
        launch.LaunchError, match="not ready after 1 s: controllers and scheduler and the node"
    ) as caught:
        launch.start(paths_of(tmp_path, "late"), CONFIG, reports.append)

    assert time.monotonic() - begun < 5
    assert [r["text"] for r in reports] == ["API"]
    assert str(tmp_path / "late" / "server.log") in caught.value.hint
    assert "timonel down --name late" in caught.value.hint


def test_a_server_that_dies_shows_its_last_words(tmp_path: Path, stand_in: Any) -> None:
    stand_in("echo the cable is cut; exit 3")

    with pytest.raises(
        launch.LaunchError, match="the server ended before it was ready:\nthe cable is cut"
    ) as caught:
        launch.start(paths_of(tmp_path, "late"), CONFIG, print)

    assert str(tmp_path / "late" / "server.log") in caught.value.hint


def test_a_server_that_gives_up_says_why_and_is_gone_then(tmp_path: Path, stand_in: Any) -> None:
    over = tmp_path / "over"
    stand_in(tell('{"event": "error", "text": "no bread", "hint": "bake"}') + f"; sleep 0.3; : > {over}")

    with pytest.raises(launch.LaunchError, match="no bread") as caught:
        launch.start(paths_of(tmp_path, "late"), CONFIG, print)

    assert caught.value.hint == "bake"
    assert over.exists(), "it was not waited for"


def test_a_port_that_was_taken_meanwhile_is_given_up_for_another(tmp_path: Path, stand_in: Any) -> None:
    taken = tell('{"event": "error", "text": "taken", "port_taken": true}')
    ready = tell('{"event": "ready"}')
    stand_in(f"if test -e {tmp_path}/once; then {ready}; else : > {tmp_path}/once; {taken}; fi")
    paths = paths_of(tmp_path, "late")

    with pytest.raises(launch.PortTaken):
        launch.start(paths, CONFIG, print)
    (tmp_path / "once").unlink()
    paths.root.mkdir(exist_ok=True)
    config = launch.start(paths, CONFIG, print, any_port=True)

    assert config.port not in (0, CONFIG.port)
    assert load(paths) == config


def test_reports_in_pieces_are_put_together() -> None:
    ready, told = os.pipe()
    os.write(told, b'{"event": "done"}\n{"eve')
    found = launch._events(ready, 5)
    assert next(found) == {"event": "done"}

    os.write(told, b'nt": "ready"}\n')
    os.close(told)

    assert list(found) == [{"event": "ready"}]
    os.close(ready)


async def test_a_node_that_never_comes_keeps_nobody_waiting_for_ever() -> None:
    config = ClusterConfig(name="late", components=("api",))
    cluster = Cluster(
        config, secrets=Secrets(), store=MemoryStore(), clock=SystemClock(), hosts=["127.0.0.1"]
    )
    reports: list[dict[str, Any]] = []
    async with cluster.running():
        begun = cluster.clock.monotonic()

        await server.tell_of_nodes(cluster, (), reports.append, started=cluster.clock.now())

        assert cluster.clock.monotonic() - begun == pytest.approx(server.NODE_WAIT, abs=1)
    assert [(r["event"], r["text"]) for r in reports] == [
        ("warning", "node late-1 is not ready: it has not registered with the API server yet")
    ]


async def made(cluster: Cluster, nodes: list[dict[str, Any]]) -> None:
    transport, resource = cluster.transport_for(ADMIN), cluster.index.resource("nodes")
    for node in nodes:
        await transport.create(resource, {"apiVersion": "v1", "kind": "Node", **node})


async def told_of(
    config: ClusterConfig, nodes: list[dict[str, Any]], alive: set[str]
) -> tuple[float, list[str]]:
    """What is said of nodes that there are when the cluster starts, and after how long."""
    cluster = Cluster(
        config, secrets=Secrets(), store=MemoryStore(), clock=SystemClock(), hosts=["127.0.0.1"]
    )
    reports: list[dict[str, Any]] = []
    async with cluster.running():
        await made(cluster, nodes)
        begun = cluster.clock.monotonic()
        await server.tell_of_nodes(cluster, (), reports.append, started=cluster.clock.now(), alive=alive)
        return cluster.clock.monotonic() - begun, [r["text"] for r in reports]


async def test_nodes_that_live_in_this_process_need_not_say_again_that_they_are_ready() -> None:
    config = ClusterConfig(name="late", components=("api",), runtime="simulated", nodes=6)
    names = [f"late-{number}" for number in range(1, 7)]

    took, texts = await told_of(config, [node_that_says("True", NOW, name) for name in names], set(names))

    assert took < 1
    assert texts == ["6 nodes (simulated)"]


async def test_nobody_waits_for_a_node_that_is_switched_off() -> None:
    config = ClusterConfig(name="late", components=("api",))
    node = node_that_says("Unknown", NOW)
    node["metadata"]["annotations"] = {"timonel.dev/simulated": "stopped"}

    took, texts = await told_of(config, [node], set())

    assert took < 1
    assert texts == ["node late-1 is not ready: it is switched off (timonel.dev/simulated: stopped)"]


async def test_of_many_nodes_that_are_not_ready_a_few_are_named() -> None:
    config = ClusterConfig(name="late", components=("api",), nodes=30)

    _, texts = await told_of(config, [], set())

    assert len(texts) == server.MOST_NAMED + 1
    assert texts[-1] == "25 more nodes are not ready: see kubectl get nodes"


async def test_a_box_that_cannot_be_made_is_told_of_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    config = ClusterConfig(name="late", network=NetworkConfig("tmnnone", "172.30.250.0/24", "172.30.250.1"))
    node = BoxedNode(
        config=config,
        paths=paths_of(tmp_path, "late"),
        number=1,
        authority=pki.Authority(tmp_path / "pki", now=SystemClock().now()),
        clock=SystemClock(),
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(node.run(ready))
        await ready.wait()
        await node.failing.wait()
        task.cancel()

    assert node.problem == "unshare is not installed; `timonel doctor` says which packages are missing"


NOW = 1_700_000_000.0


def node_that_says(status: str, at: float, name: str = "late-1") -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "message": "no disk", "lastHeartbeatTime": format_time(at)}
    return {"metadata": {"name": name}, "status": {"conditions": [ready]}}


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (None, "it has not registered with the API server yet"),
        ({"metadata": {"name": "late-1"}}, "it has not told its state yet"),
        (node_that_says("False", NOW), "no disk"),
        (node_that_says("True", NOW - 60), "it has not told its state since the cluster was started"),
        (node_that_says("True", NOW), ""),
    ],
)
def test_why_a_node_is_not_ready(node: dict[str, Any] | None, why: str) -> None:
    assert why_not_ready(node, NOW + 0.7) == why

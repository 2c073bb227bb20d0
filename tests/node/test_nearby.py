"""The API of an agent in the API server's process: what simulated containers say, and what they cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.node.builders import pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import MACHINE, LoopClock, until_phase
from timonel.aio.lifecycle import running
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.nearby import NearbyServer
from timonel.node.shell import NodeAgent, NodeConfig


async def answer(server: NearbyServer, target: str, method: str = "GET") -> tuple[str, str]:
    """The first line, and the rest as it came."""
    reader, writer = await server.connect()
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n".encode())
    head, body = (await reader.read()).decode().split("\r\n\r\n", 1)
    writer.close()
    return head.split("\r\n")[0], body


def agent(api: FakeApi, server: NearbyServer) -> NodeAgent:
    config = NodeConfig("n1", "10.0.0.1", Path("/nowhere"), is_simulated=True, machine=MACHINE)
    return NodeAgent(config, api, SimulatedRuntime(LoopClock()), LoopClock(), nearby=server)


async def test_logs_of_a_simulated_container() -> None:
    api, server = FakeApi(LoopClock().now), NearbyServer()
    async with running(agent(api, server)):
        api.put("pods", pod())
        await until_phase(api, "Running")
        first, body = await answer(server, "/containerLogs/default/web/main?tailLines=1")

    assert first == "HTTP/1.1 200 OK"
    assert "main: nothing runs here, this node simulates its containers" in body


async def test_a_log_that_is_followed_ends_with_its_container() -> None:
    api, server = FakeApi(LoopClock().now), NearbyServer()
    async with running(agent(api, server)):
        short = pod(restartPolicy="Never")
        short["metadata"]["annotations"] = {"timonel.dev/simulate": '{"runFor": "30s"}'}
        api.put("pods", short)
        await until_phase(api, "Running")
        started = asyncio.get_running_loop().time()
        await answer(server, "/containerLogs/default/web/main?follow=true")
        took = asyncio.get_running_loop().time() - started

    assert 25 < took <= 31


async def test_what_needs_a_process_is_refused_in_words() -> None:
    api, server = FakeApi(LoopClock().now), NearbyServer()
    async with running(agent(api, server)):
        api.put("pods", pod())
        await until_phase(api, "Running")
        first, body = await answer(server, "/exec/default/web/main?command=ls&output=1", "POST")

    assert first == "HTTP/1.1 500 Internal Server Error"
    assert body == "this node simulates its containers, there is no process to run a command in"


async def test_nobody_serves_before_and_after() -> None:
    api, server = FakeApi(LoopClock().now), NearbyServer()
    with pytest.raises(ConnectionRefusedError):
        await server.connect()

    async with running(agent(api, server)):
        await answer(server, "/healthz")

    with pytest.raises(ConnectionRefusedError):
        await server.connect()

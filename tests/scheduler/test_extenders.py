"""Extenders, played by a small HTTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.scheduler.test_cycle import Objects, node, pod, world
from timonel.aio.clock import SystemClock
from timonel.objects.meta import Object
from timonel.scheduler import cycle, extended
from timonel.scheduler.extenders import Extender, ExtenderConfig, ExtenderFailed
from timonel.scheduler.framework import State
from timonel.scheduler.podinfo import pod_info
from timonel.scheduler.profile import Profile, default_plugins

pytestmark = pytest.mark.looptime(False)  # real sockets


@asynccontextmanager
async def answering(answers: dict[str, Any], asked: list[Object]) -> AsyncIterator[str]:
    """The URL of a server that gives these answers by verb; a number is a status."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        )
        asked.append(json.loads(await reader.readexactly(length)))
        answer = answers[head.split(" ")[1].rpartition("/")[2]]
        status, body = (answer, b"") if isinstance(answer, int) else (200, json.dumps(answer).encode())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/scheduler"
    finally:
        server.close()
        await server.wait_closed()


async def chosen(answers: dict[str, Any], asked: list[Object] | None = None, **config: Any) -> str:
    table = world([node("a"), node("b"), node("c")])
    state = State(pod_info(pod(cpu="1")), table, Objects())
    async with answering(answers, [] if asked is None else asked) as url:
        extender = Extender(ExtenderConfig(url=url, **config), SystemClock())
        return table.name(await extended.choose(Profile(default_plugins()), state, [extender]))


async def test_only_nodes_that_it_leaves() -> None:
    asked: list[Object] = []

    found = await chosen({"filter": {"NodeNames": ["c"]}}, asked, filter_verb="filter", knows_nodes=True)

    assert found == "c"
    assert asked[0]["NodeNames"] == ["a", "b", "c"]
    assert asked[0]["Pod"]["metadata"]["name"] == "p"


async def test_whole_nodes_for_one_that_knows_none() -> None:
    asked: list[Object] = []

    found = await chosen({"filter": {"Nodes": {"items": [node("b")]}}}, asked, filter_verb="filter")

    assert found == "b"
    assert [n["metadata"]["name"] for n in asked[0]["Nodes"]["items"]] == ["a", "b", "c"]


async def test_its_scores_count() -> None:
    scores = [{"Host": "a", "Score": 1}, {"Host": "b", "Score": 10}]

    assert await chosen({"score": scores}, prioritize_verb="score") == "b"


async def test_why_it_refuses_is_told() -> None:
    answer = {
        "NodeNames": [],
        "FailedNodes": {"a": "too far", "b": "too far"},
        "FailedAndUnresolvableNodes": {"c": "gone"},
    }

    with pytest.raises(cycle.Unschedulable) as caught:
        await chosen({"filter": answer}, filter_verb="filter", knows_nodes=True)

    assert str(caught.value).startswith("0/3 nodes are available: 1 gone, 2 too far.")


@pytest.mark.parametrize("answer", [500, {"Error": "no"}, {"NodeNames": ["z"]}, "nonsense"])
async def test_a_broken_one_fails_the_pod_unless_it_may_be_ignored(answer: Any) -> None:
    with pytest.raises(ExtenderFailed):
        await chosen({"filter": answer}, filter_verb="filter", knows_nodes=True)

    assert await chosen({"filter": answer}, filter_verb="filter", knows_nodes=True, ignorable=True) == "a"


async def test_one_that_is_not_there() -> None:
    extender = Extender(ExtenderConfig(url="http://127.0.0.1:1/x", filter_verb="filter"), SystemClock())

    with pytest.raises(ExtenderFailed, match=r"Post .*dial tcp"):
        await extender.filter(pod(), [node("a")])


def test_it_is_interested_in_pods_that_ask_for_what_it_manages() -> None:
    extender = Extender(ExtenderConfig(url="http://x", managed=frozenset({"example.com/gpu"})), SystemClock())
    plain, asking = pod(cpu="1"), pod()
    asking["spec"]["containers"][0]["resources"]["requests"] = {"example.com/gpu": "1"}

    assert [extender.is_interested(pod_info(obj)) for obj in (plain, asking)] == [False, True]

"""Extenders, played by a small HTTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.scheduler.test_cycle import Objects, node, pod, world
from tests.scheduler.test_shell import INDEX, NODES, PODS, cluster
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.fake import MemoryTransport
from timonel.objects.meta import Key, Object
from timonel.scheduler import cycle, extended
from timonel.scheduler.configuration import Configuration
from timonel.scheduler.extenders import Extender, ExtenderConfig, ExtenderFailed
from timonel.scheduler.framework import Nomination, State
from timonel.scheduler.podinfo import pod_info
from timonel.scheduler.profile import Profile, default_plugins
from timonel.scheduler.shell import Scheduler

__all__ = ["cluster"]

SLOW = object()  # no answer in time

pytestmark = pytest.mark.looptime(False)  # real sockets


@asynccontextmanager
async def answering(answers: dict[str, Any], asked: list[Object]) -> AsyncIterator[str]:
    """The URL of a server that gives these answers by verb; a number is a status."""

    at_work: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        try:
            await answer_one(reader, writer)
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        )
        asked.append(json.loads(await reader.readexactly(length)))
        answer = answers[head.split(" ")[1].rpartition("/")[2]]
        if answer is SLOW:
            await reader.read()  # until who asks has had enough
            return
        if isinstance(answer, bytes):
            writer.write(answer)
            return
        status, body = (answer, b"") if isinstance(answer, int) else (200, json.dumps(answer).encode())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/scheduler"
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*at_work, return_exceptions=True)


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


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: "
BROKEN = [
    500,
    404,
    {"Error": "no"},
    {"NodeNames": ["z"]},
    {"NodeNames": 5},
    {"Nodes": {"items": [{"metadata": {}}]}},
    {"Nodes": [1]},
    {"NodeNames": [], "FailedNodes": "all"},
    "nonsense",
    [1],
    HEAD + b"5\r\n\r\n{not}",
    HEAD + b"50\r\n\r\n{}",  # cut off
    b"garbage\r\n\r\n",
    b"",
    SLOW,
]


@pytest.mark.parametrize("answer", BROKEN)
async def test_a_broken_one_fails_the_pod_unless_it_may_be_ignored(answer: Any) -> None:
    with pytest.raises(ExtenderFailed):
        await chosen({"filter": answer}, filter_verb="filter", knows_nodes=True, timeout=0.2)

    found = await chosen(
        {"filter": answer}, filter_verb="filter", knows_nodes=True, ignorable=True, timeout=0.2
    )
    assert found == "a"


async def test_one_that_is_not_there() -> None:
    extender = Extender(ExtenderConfig(url="http://127.0.0.1:1/x", filter_verb="filter"), SystemClock())

    with pytest.raises(ExtenderFailed) as failed:
        await extender.filter(pod(), [node("a")])
    refused = "dial tcp 127.0.0.1:1: connect: connection refused"
    assert str(failed.value) == f'Post "http://127.0.0.1:1/x/filter": {refused}'


async def test_one_that_is_late() -> None:
    async with answering({"filter": SLOW}, []) as url:
        extender = Extender(ExtenderConfig(url=url, filter_verb="filter", timeout=0.1), SystemClock())

        with pytest.raises(ExtenderFailed) as failed:
            await extender.filter(pod(), [node("a")])
    late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    assert str(failed.value) == f'Post "{url}/filter": {late}'


def test_it_is_interested_in_pods_that_ask_for_what_it_manages() -> None:
    extender = Extender(ExtenderConfig(url="http://x", managed=frozenset({"example.com/gpu"})), SystemClock())
    plain, asking = pod(cpu="1"), pod()
    asking["spec"]["containers"][0]["resources"]["requests"] = {"example.com/gpu": "1"}

    assert [extender.is_interested(pod_info(obj)) for obj in (plain, asking)] == [False, True]


@pytest.mark.parametrize("answer", [500, [{"Host": "b"}], [5], {"Host": "b", "Score": 10}, "b", SLOW, b""])
async def test_scores_that_make_no_sense_are_done_without(answer: Any) -> None:
    assert await chosen({"score": answer}, prioritize_verb="score", timeout=0.2) == "a"


async def test_scores_are_weighted_beside_those_of_plugins() -> None:
    scores = [{"Host": "a", "Score": 3}, {"Host": "b", "Score": 4}, {"Host": "elsewhere", "Score": 10}]

    assert await chosen({"score": scores}, prioritize_verb="score", weight=5) == "b"


# ---- victims


async def nominated(answer: Any, asked: list[Object] | None = None, **config: Any) -> Nomination | str:
    """Two nodes, each with a pod that is less important; "a" would be taken."""
    there = [("a", pod("on-a", cpu="4")), ("b", pod("on-b", cpu="4", priority=1))]
    for name, obj in there:
        obj["metadata"]["uid"] = f"uid-{name}"
    table = world([node("a"), node("b")], there)
    state = State(pod_info(pod(cpu="2", priority=9)), table, Objects())
    async with answering({"preempt": answer}, [] if asked is None else asked) as url:
        extender = Extender(ExtenderConfig(url=url, preempt_verb="preempt", **config), SystemClock())
        with pytest.raises(cycle.Unschedulable) as caught:
            await extended.choose(Profile(default_plugins()), state, [extender])
    return caught.value.diagnosis.nomination or str(caught.value).replace(url, "URL")


def wants(**victims: list[str]) -> Object:
    return {
        "NodeNameToMetaVictims": {
            name: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": 0}
            for name, uids in victims.items()
        }
    }


async def test_it_is_asked_about_all_nodes_that_would_do() -> None:
    asked: list[Object] = []

    found = await nominated(wants(b=["uid-b"]), asked, knows_nodes=True)

    assert isinstance(found, Nomination)
    assert (found.node, [v.key.name for v in found.victims]) == ("b", ["on-b"])
    assert asked[0]["NodeNameToMetaVictims"] == {
        "a": {"Pods": [{"UID": "uid-a"}], "NumPDBViolations": 0},
        "b": {"Pods": [{"UID": "uid-b"}], "NumPDBViolations": 0},
    }


async def test_one_that_knows_no_nodes_is_told_of_whole_pods() -> None:
    asked: list[Object] = []

    found = await nominated(wants(a=["uid-a"], b=["uid-b"]), asked)

    assert isinstance(found, Nomination)
    assert found.node == "a"
    victims = asked[0]["NodeNameToVictims"]["b"]["Pods"]
    assert [v["metadata"]["name"] for v in victims] == ["on-b"]


START = "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: "


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (wants(), "no candidate node for preemption"),
        (wants(z=["uid-z"]), 'nodeinfo not found for node name "z"'),
        (wants(a=[]), 'expected at least one victim pod on node "a"'),
        (
            wants(a=["uid-b"]),
            "extender: URL claims to preempt pod (UID: uid-b) on node: a, but the pod is not found on that node",
        ),
        (500, "failed preempt with extender at URL URL/preempt, code 500"),
        ({"NodeNameToMetaVictims": [1]}, "extender at URL URL does not answer what it was asked"),
    ],
)
async def test_victims_that_make_no_sense(answer: Any, message: str) -> None:
    assert await nominated(answer, knows_nodes=True) == START + message
    found = await nominated(answer, knows_nodes=True, ignorable=True)
    if answer == wants() or answer == wants(a=[]):
        assert found == START + "no candidate node for preemption"
    else:
        assert isinstance(found, Nomination)
        assert found.node == "a"


# ---- in the service


async def served(cluster: MemoryTransport, config: ExtenderConfig, *names: str) -> dict[str, Object]:
    await cluster.create(NODES, node("n1"))
    settings = Configuration((Profile(default_plugins()),), (config,))
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=settings)):
        for name in names:
            await cluster.create(PODS, pod(name))
        await asyncio.sleep(0.5)
        return {name: await cluster.get(PODS, Key("shop", name)) for name in names}


async def test_it_binds_and_nobody_else_does(cluster: MemoryTransport) -> None:
    asked: list[Object] = []
    async with answering({"bind": {}}, asked) as url:
        found = await served(cluster, ExtenderConfig(url=url, bind_verb="bind"), "p")

    assert asked == [
        {"PodName": "p", "PodNamespace": "shop", "PodUID": found["p"]["metadata"]["uid"], "Node": "n1"}
    ]
    assert "nodeName" not in found["p"]["spec"]  # it has only said so


@pytest.mark.parametrize("answer", [500, {"Error": "no"}, [], b""])
async def test_one_that_cannot_bind_and_may_be_ignored_is_done_without(
    cluster: MemoryTransport, answer: Any
) -> None:
    async with answering({"bind": answer}, []) as url:
        found = await served(cluster, ExtenderConfig(url=url, bind_verb="bind", ignorable=True), "p")

    assert found["p"]["spec"]["nodeName"] == "n1"


async def test_one_that_cannot_bind_is_told_of(cluster: MemoryTransport) -> None:
    async with answering({"bind": {"Error": "the machine is on fire"}}, []) as url:
        found = await served(cluster, ExtenderConfig(url=url, bind_verb="bind"), "p")

    (condition,) = found["p"]["status"]["conditions"]
    assert (condition["reason"], condition["message"]) == ("SchedulerError", "the machine is on fire")


async def test_a_dead_one_holds_up_only_the_pods_that_it_has_a_say_in(cluster: MemoryTransport) -> None:
    config = ExtenderConfig(
        url="http://127.0.0.1:1/x", filter_verb="filter", managed=frozenset({"example.com/gpu"})
    )
    await cluster.create(NODES, node("n0"))
    settings = Configuration((Profile(default_plugins()),), (config,))
    asking = pod("asking")
    asking["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "0"}}
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=settings)):
        await cluster.create(PODS, asking)
        await cluster.create(PODS, pod("plain"))
        await asyncio.sleep(0.5)
        found = {n: await cluster.get(PODS, Key("shop", n)) for n in ("asking", "plain")}

    assert found["plain"]["spec"]["nodeName"] == "n0"
    (condition,) = found["asking"]["status"]["conditions"]
    assert condition["reason"] == "SchedulerError"
    refused = "dial tcp 127.0.0.1:1: connect: connection refused"
    assert condition["message"] == f'Post "http://127.0.0.1:1/x/filter": {refused}'

"""The plugin of the guide, installed as one of another package, at every extension point."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.scheduler.test_cycle import node, pod
from tests.scheduler.test_shell import EVENTS, INDEX, NODES, PODS, cluster
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.fake import MemoryTransport
from timonel.objects.meta import Key, Object
from timonel.scheduler.configuration import Configuration, parse
from timonel.scheduler.profile import POINTS
from timonel.scheduler.shell import Scheduler

__all__ = ["cluster"]

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "scheduling.md"
METHODS = (
    "pre_enqueue", "rank", "pre_filter", "filter", "post_filter", "pre_score", "score", "normalize", "reserve",
    "unreserve", "permit", "pre_bind", "bind", "post_bind", "may_help",
)  # fmt: skip


def block(language: str, holding: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return next(str(text) for text in found if holding in text)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Installs the package; the names of the methods that are called."""
    (tmp_path / "gangs.py").write_text(block("python", "class Gang"))
    about = tmp_path / "gangs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gangs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[timonel.scheduler.plugins]\nGang = gangs:Gang\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import gangs  # type: ignore[import-not-found]

    called: list[str] = []
    for name in METHODS:
        monkeypatch.setattr(gangs.Gang, name, watched(name, getattr(gangs.Gang, name), called))
    return called


def watched(name: str, method: Any, called: list[str]) -> Any:
    def call(*args: Any) -> Any:
        called.append(name)
        return method(*args)

    return call


def settings() -> Configuration:
    return parse(yaml.safe_load(block("yaml", "name: Gang, weight: 3")))


def member(name: str, size: str = "2") -> Object:
    found = pod(name, cpu="1")
    found["metadata"] |= {"labels": {"example.com/gang": "g"}, "annotations": {"example.com/gang-size": size}}
    return found


def for_gangs(name: str) -> Object:
    return node(name, labels={"example.com/for-gangs": "true"})


async def nodes_of(cluster: MemoryTransport, *names: str) -> list[str | None]:
    return [(await cluster.get(PODS, Key("shop", name)))["spec"].get("nodeName") for name in names]


async def test_the_plugin_of_the_guide_is_found_and_asked_at_every_point(
    cluster: MemoryTransport, calls: list[str]
) -> None:
    configuration = settings()
    (profile,) = configuration.profiles
    gang: Any = next(p for p in profile.plugins if p.name == "Gang")
    assert all(isinstance(gang, protocol) for protocol in POINTS.values())
    assert profile.sort is gang
    assert profile.bind[0] is gang
    assert profile.weight_of(gang) == 3
    await cluster.create(NODES, node("plain"))
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=configuration)):
        await cluster.create(PODS, member("a"))
        unsized = member("unsized")
        unsized["metadata"]["annotations"] = {}
        await cluster.create(PODS, unsized)
        await asyncio.sleep(1)
        assert (await cluster.get(PODS, Key("shop", "a")))["status"]["conditions"][0]["message"] == (
            "0/1 nodes are available: 1 node(s) were not for gangs. no new claims to deallocate, preemption: "
            "0/1 nodes are available: 1 Preemption is not helpful for scheduling., gangs need nodes of their own"
        )

        for name in ("g1", "g2"):
            await cluster.create(NODES, for_gangs(name))
        await asyncio.sleep(5)
        assert await nodes_of(cluster, "a") == [None]  # it waits for the other one
        assert (await cluster.get(PODS, Key("shop", "a")))["status"]["nominatedNodeName"] == "g1"

        await cluster.create(PODS, member("b"))
        await asyncio.sleep(1)
        assert await nodes_of(cluster, "a", "b", "unsized") == ["g1", "g2", None]
        alone = {"metadata": {"annotations": {"example.com/gang-size": "1"}}}
        await cluster.patch(PODS, Key("shop", "unsized"), alone)
        await asyncio.sleep(1)
        assert (await nodes_of(cluster, "unsized"))[0] is not None  # it is let in now
        events = [(e["involvedObject"]["name"], e["message"]) for e in (await cluster.list(EVENTS)).items
                  if e["reason"] == "GangComplete"]  # fmt: skip
        assert sorted(events)[:2] == [("a", "bound with its gang to g1"), ("b", "bound with its gang to g2")]

    assert set(METHODS) - set(calls) == {"unreserve"}


async def test_a_permit_that_is_not_given_takes_the_place_back(
    cluster: MemoryTransport, calls: list[str]
) -> None:
    await cluster.create(NODES, for_gangs("g1"))
    scheduler = Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=settings())
    async with running(scheduler):
        await cluster.create(PODS, member("a", size="3"))
        await asyncio.sleep(31)

        found = await cluster.get(PODS, Key("shop", "a"))
        (condition,) = found["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == (
            "Unschedulable", "0/1 nodes are available: 1 gang g is not complete.",
        )  # fmt: skip
        assert not found["status"].get("nominatedNodeName")
        assert scheduler.measures.permits["Unschedulable"].count == 1
    assert "unreserve" in calls
    assert "pre_bind" not in calls


class Breaks:
    name = "Breaks"

    def __init__(self, point: str, scope: str) -> None:
        if scope:
            self.scope = scope

        def fails(*args: Any) -> Any:
            raise ValueError("out of paper")

        async def fails_later(*args: Any) -> Any:
            raise ValueError("out of paper")

        setattr(self, point, fails_later if point in ("permit", "pre_bind", "bind") else fails)
        if point == "reserve":
            self.unreserve = lambda state: None
        if point == "has_to_pre_bind":
            self.pre_bind = fails_later
        if point == "normalize":
            self.score = lambda state, rows: np.zeros(len(rows))
        if point == "range":
            self.score = lambda state, rows: np.full(len(rows), 200)


WORDS = {
    "pre_filter": 'running PreFilter plugin "Breaks": out of paper',
    "filter": 'running "Breaks" filter plugin: out of paper',
    "pre_score": 'running PreScore plugin "Breaks": out of paper',
    "score": 'running Score plugins: plugin "Breaks" failed with: out of paper',
    "normalize": 'running Normalize on Score plugins: plugin "Breaks" failed with: out of paper',
    "reserve": 'running Reserve plugin "Breaks": out of paper',
    "permit": 'running Permit plugin "Breaks": out of paper',
    "has_to_pre_bind": 'running PreBindPreFlight "Breaks": out of paper',
    "pre_bind": 'running PreBind plugin "Breaks": out of paper',
    "bind": 'running Bind plugin "Breaks": out of paper',
    "post_bind": "",
}
RANGE = (
    'applying score defaultWeights on Score plugins: plugin "Breaks" returns an invalid score 200, '
    "it should in the range of [0, 100] after normalizing"
)


@pytest.mark.parametrize(
    ("point", "words", "scope"),
    [
        *((point, words, scope) for point, words in WORDS.items() for scope in ("", "nodes", "cluster")),
        ("range", RANGE, ""),  # who says what its answers depend on is trusted to keep to it
    ],
)
async def test_what_breaks_costs_its_pod_an_attempt_and_is_told(
    cluster: MemoryTransport, caplog: pytest.LogCaptureFixture, point: str, words: str, scope: str
) -> None:
    points: Mapping[str, Object] = {"multiPoint": {"enabled": [{"name": "Breaks"}]}}
    if point == "bind":
        points = {"bind": {"disabled": [{"name": "*"}], "enabled": [{"name": "Breaks"}]}}
    tree = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "default-scheduler"}, {"schedulerName": "broken", "plugins": points}],
    }
    broken: Any = lambda arguments: Breaks(point, scope)  # noqa: E731
    for name in ("n1", "n2"):
        await cluster.create(NODES, node(name))
    configuration = parse(tree, {"Breaks": broken})
    scheduler = Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=configuration)
    async with running(scheduler):
        await cluster.create(PODS, pod("bad", schedulerName="broken"))
        await cluster.create(PODS, pod("good"))
        await asyncio.sleep(0.5)

        assert all(await nodes_of(cluster, "good"))
        if not words:
            assert all(await nodes_of(cluster, "bad"))
            return
        (condition,) = (await cluster.get(PODS, Key("shop", "bad")))["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == ("SchedulerError", words)
        assert scheduler.queue.counts()["backoff"] == 1
        told_by = {e["reason"]: e["source"]["component"] for e in (await cluster.list(EVENTS)).items}
        assert told_by == {"FailedScheduling": "broken", "Scheduled": "default-scheduler"}

        await asyncio.sleep(120)
    told = [record for record in caplog.records if words in record.getMessage()]
    assert len(told) > 3
    assert [record.exc_info is not None for record in told].count(True) == 1


async def test_a_helper_that_breaks_is_why_nobody_helped(cluster: MemoryTransport) -> None:
    broken: Any = lambda arguments: Breaks("post_filter", "")  # noqa: E731
    points = {"postFilter": {"disabled": [{"name": "*"}], "enabled": [{"name": "Breaks"}]}}
    tree = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "default-scheduler", "plugins": points}],
    }
    await cluster.create(NODES, node("n1", cpu="1"))
    configuration = parse(tree, {"Breaks": broken})
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock(), configuration=configuration)):
        await cluster.create(PODS, pod("large", cpu="2"))
        await asyncio.sleep(0.5)

        (condition,) = (await cluster.get(PODS, Key("shop", "large")))["status"]["conditions"]
        assert (condition["reason"], condition["message"]) == (
            "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu. out of paper",
        )  # fmt: skip

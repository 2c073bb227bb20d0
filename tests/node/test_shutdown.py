"""The node's graceful shutdown: what is decided, the whole agent under it, and the conversation with logind."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container, pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import MACHINE, LoopClock, status
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.node import flags, logind, shutdown, shutdownplan
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.node.shutdown import Shutdown
from timonel.node.shutdownplan import Period

CRITICAL = 2_000_000_000


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ()),
        ({"shutdown-grace-period": "30s"}, (Period(0, 30), Period(CRITICAL, 0))),
        (
            {"shutdown-grace-period": "30s", "shutdown-grace-period-critical-pods": "10s"},
            (Period(0, 20), Period(CRITICAL, 10)),
        ),
        ({"shutdown-grace-period-by-pod-priority": "1000=5,0=20"}, (Period(0, 20), Period(1000, 5))),
    ],
)
def test_flags(given: dict[str, str], found: tuple[Period, ...]) -> None:
    assert flags.changes(given).get("shutdown", ()) == found


@pytest.mark.parametrize(
    "given",
    [
        {"shutdown-grace-period": "soon"},
        {"shutdown-grace-period": "-1s"},
        {"shutdown-grace-period": "500ms"},
        {"shutdown-grace-period": "5s", "shutdown-grace-period-critical-pods": "10s"},
        {"shutdown-grace-period": "5s", "shutdown-grace-period-by-pod-priority": "0=5"},
        {"shutdown-grace-period-by-pod-priority": "high=5"},
        {"shutdown-grace-period-by-pod-priority": "5"},
        {"shutdown-grace-period-by-pod-priority": "0=5,0=6"},
        {"shutdown-grace-period-by-pod-priority": "0=-5"},
    ],
)
def test_flags_that_make_no_sense(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"shutdown|duration"):
        flags.changes(given)


def test_the_less_important_end_first_and_nobody_is_left_out() -> None:
    periods = (Period(0, 20), Period(1000, 10), Period(CRITICAL, 5))
    pods = [
        pod(name=str(p), uid=str(p), priority=p) for p in (CRITICAL + 1000, 5000, 1000, 999, -5, CRITICAL)
    ]

    found = shutdownplan.groups(periods, pods)

    assert [(p.priority, [x["metadata"]["name"] for x in group]) for p, group in found] == [
        (0, ["999", "-5"]),
        (1000, ["5000", "1000"]),
        (CRITICAL, [str(CRITICAL + 1000), str(CRITICAL)]),
    ]


@pytest.mark.parametrize(("own", "seconds", "found"), [(30, 10, 10), (3, 10, 3), (0, 10, 0)])
def test_no_pod_gets_more_time_than_it_asks_for(own: int, seconds: int, found: int) -> None:
    assert shutdownplan.grace(pod(terminationGracePeriodSeconds=own), Period(0, seconds)) == found


class Node:
    def __init__(self) -> None:
        self.clock = LoopClock()
        self.api = FakeApi(self.clock.now)
        config = NodeConfig(
            "n1",
            "10.0.0.1",
            Path("/nowhere"),
            is_simulated=True,
            machine=MACHINE,
            shutdown=(Period(0, 20), Period(CRITICAL, 10)),
        )
        self.agent = NodeAgent(config, self.api, SimulatedRuntime(self.clock), self.clock)

    def ready(self) -> dict[str, Any]:
        conditions = (self.api.find("nodes", "", "n1") or {})["status"]["conditions"]
        found: dict[str, Any] = next(c for c in conditions if c["type"] == "Ready")
        return found

    async def until(self, name: str, phase: str) -> None:
        await self.api.until(lambda: status(self.api, name).get("phase") == phase)


async def test_a_node_that_shuts_down_says_so_ends_its_pods_and_takes_no_others() -> None:
    node = Node()
    hook = {"preStop": {"sleep": {"seconds": 3}}}
    async with running(node.agent):
        node.api.put("pods", pod(container(lifecycle=hook), name="plain", uid="u1"))
        node.api.put("pods", pod(name="vital", uid="u2", priority=CRITICAL))
        await node.until("plain", "Running")
        await node.until("vital", "Running")
        await asyncio.sleep(1)
        node.agent.shut_down()
        await asyncio.sleep(1)
        ready, between = node.ready(), copy.deepcopy(status(node.api, "vital"))
        await node.until("plain", "Failed")
        await node.until("vital", "Failed")
        node.api.put("pods", pod(name="late", uid="u3"))
        await node.until("late", "Failed")

    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "KubeletNotReady",
        "node is shutting down",
    )
    assert between["phase"] == "Running"  # those it comes after have their time
    for name in ("plain", "vital"):
        ended = status(node.api, name)
        assert (ended["reason"], ended["message"]) == (shutdownplan.REASON, shutdownplan.MESSAGE)
        disruption = next(c for c in ended["conditions"] if c["type"] == "DisruptionTarget")
        assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
    late = status(node.api, "late")
    assert (late["reason"], late["message"]) == (
        "NodeShutdown",
        "Pod was rejected: Pod was rejected as the node is shutting down.",
    )
    assert ("Shutdown", "Shutdown manager detected shutdown event") in node.api.events("n1")


async def test_without_periods_nothing_is_ended() -> None:
    node = Node()
    config = NodeConfig("n1", "10.0.0.1", Path("/nowhere"), is_simulated=True, machine=MACHINE)
    agent = NodeAgent(config, node.api, SimulatedRuntime(node.clock), node.clock)
    async with running(agent):
        node.api.put("pods", pod())
        await node.until("web", "Running")
        agent.shut_down()
        await asyncio.sleep(60)

    assert status(node.api)["phase"] == "Running"
    assert node.ready()["status"] == "True"


# ---- logind


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ('{"type":"signal","member":"PrepareForShutdown","payload":{"type":"b","data":[true]}}', True),
        ('{"type":"signal","member":"PrepareForShutdown","payload":{"type":"b","data":[false]}}', False),
        ('{"type":"signal","member":"NameAcquired","payload":{"type":"s","data":[":1.5"]}}', None),
        ('{"member":"PrepareForShutdown","payload":{"data":[]}}', None),
        ("[]", None),
        ("not json", None),
    ],
)
def test_what_the_bus_says(line: str, begins: bool | None) -> None:
    assert logind.shutdown_in(line) is begins


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class Records:
    def record(self, *args: Any, **kwargs: Any) -> None:
        """Nobody reads them here."""


@pytest.mark.looptime(False)
async def test_the_machine_waits_until_pods_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_ = json.dumps({"member": "PrepareForShutdown", "payload": {"data": [True]}})
    (tmp_path / "delay").write_text("5000000")
    program(
        tmp_path,
        "busctl",
        f'case "$*" in *get-property*) echo "t $(cat {tmp_path}/delay)";; '
        f"*monitor*) until [ -e {tmp_path}/held ]; do sleep 0.01; done; echo '{signal_}'; exec sleep 100;; esac",
    )
    program(tmp_path, "systemctl", f"echo 30000000 > {tmp_path}/delay; echo $* > {tmp_path}/reloaded")
    program(
        tmp_path,
        "systemd-inhibit",
        f'echo "$*" > {tmp_path}/args; echo > {tmp_path}/held; cat; echo > {tmp_path}/released',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    clock = SystemClock()
    seen = list[bool]()

    def changed() -> None:
        seen.append((tmp_path / "released").exists())

    records: Any = Records()
    ending = Shutdown((Period(0, 30),), clock, records, list, dict, changed)
    monkeypatch.setattr(shutdown, "LAST_WORDS", 0.0)
    watcher = logind.Logind(ending, clock, tmp_path / "conf.d" / "99.conf")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(ending.run()), group.create_task(watcher.run())]
        for _ in range(1000):
            if (tmp_path / "released").exists():
                break
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()

    assert seen == [False]  # the shutdown began while the machine was held
    assert ending.ended_at >= ending.started_at > 0
    assert "InhibitDelayMaxSec=30" in (tmp_path / "conf.d" / "99.conf").read_text()
    assert "systemd-logind" in (tmp_path / "reloaded").read_text()
    assert "--what=shutdown --mode=delay" in (tmp_path / "args").read_text()


async def test_a_shutdown_that_is_called_off_lets_pods_in_again() -> None:
    clock = LoopClock()
    told = list[bool]()
    records: Any = Records()
    ending = Shutdown((Period(0, 30),), clock, records, list, dict, lambda: told.append(ending.is_under_way))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ending.run())
        ending.begin()
        ending.begin()
        await ending.over()
        ending.cancel()
        ending.cancel()
        task.cancel()

    assert told == [True, False]

"""Resources that change while containers run: the decision, and the whole agent on the simulated runtime."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest

from tests.node.builders import container, pod
from tests.node.fake_api import FakeApi
from tests.node.test_agent import Agent, agent, api, clock, runtime, status, until_phase
from timonel.node import podresources
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Resources
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.resizing import Pending, allotted, asks_for_restart, changed, given_before, verdict

__all__ = ["agent", "api", "clock", "runtime"]  # fixtures

ALLOCATABLE = {"cpu": "2", "memory": "1Gi", "pods": "10"}


def sized(cpu: str = "100m", memory: str = "100Mi", **fields: Any) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": memory}
    return container(resources={"requests": amounts, "limits": amounts}, **fields)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1000m"}}, set()),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, {"cpu"}),
        ({}, {"limits": {"memory": "1Mi"}}, {"memory"}),
        ({"limits": {"cpu": "1", "memory": "1"}}, {"limits": {"cpu": "2", "memory": "2"}}, {"cpu", "memory"}),
        ({"limits": {"example.com/x": "1"}}, {}, set()),
    ],
)
def test_what_differs(one: dict[str, Any], other: dict[str, Any], expected: set[str]) -> None:
    assert changed(one, other) == expected


def test_a_restart_is_asked_for_by_resource() -> None:
    policy = [
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
    ]
    resized = container(resizePolicy=policy)

    assert not asks_for_restart(resized, {"cpu"})
    assert asks_for_restart(resized, {"cpu", "memory"})


def test_what_was_given_before_is_in_the_status() -> None:
    running = {"name": "main", "containerID": "c://1", "resources": sized("200m")["resources"]}
    wanted = pod(sized("1"), container("new"), status={"containerStatuses": [running]})

    given = given_before(wanted)
    assert given == {"main": sized("200m")["resources"], "new": {}}
    assert podresources.requests(allotted(wanted, given))["cpu"] == 200
    assert allotted(wanted, {"main": sized("1000m")["resources"], "new": {}}) is wanted


@pytest.mark.parametrize(
    ("cpu", "pending"),
    [
        ("1", None),
        (
            "1500m",
            Pending(
                "Deferred",
                "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
            ),
        ),
        (
            "3",
            Pending("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"),
        ),
    ],
)
def test_what_a_node_can_give(cpu: str, pending: Pending | None) -> None:
    others = [pod(sized("1"), name="other")]

    assert verdict(pod(sized(cpu)), others, ALLOCATABLE, podresources.requests) == pending


def test_static_pods_are_not_resized() -> None:
    static = pod(sized())
    static["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}

    found = verdict(static, (), ALLOCATABLE, podresources.requests)
    assert found == Pending("Infeasible", "In-place resize of static-pods is not supported")


# ---- the agent


def resize(api: FakeApi, cpu: str, name: str = "web") -> None:
    found = copy.deepcopy(api.find("pods", "default", name))
    assert found is not None
    found["spec"]["containers"][0]["resources"] = sized(cpu)["resources"]
    found["metadata"]["generation"] += 1
    api.put("pods", found)


def running_with(api: FakeApi, name: str = "web") -> str:
    found: str = status(api, name)["containerStatuses"][0]["resources"]["requests"]["cpu"]
    return found


def resize_conditions(api: FakeApi, name: str = "web") -> dict[str, tuple[str | None, str | None]]:
    return {
        c["type"]: (c.get("reason"), c.get("message"))
        for c in status(api, name)["conditions"]
        if c["type"].startswith("PodResize")
    }


@pytest.fixture
def told(runtime: SimulatedRuntime, monkeypatch: pytest.MonkeyPatch) -> list[Resources]:
    found = list[Resources]()
    update = runtime.update_resources

    async def update_resources(container_id: str, resources: Resources) -> None:
        found.append(resources)
        await update(container_id, resources)

    monkeypatch.setattr(runtime, "update_resources", update_resources)
    return found


async def test_a_running_container_gets_more(api: FakeApi, agent: Agent, told: list[Resources]) -> None:
    async with agent():
        api.put("pods", pod(sized()))
        await until_phase(api, "Running")
        resize(api, "1")
        await api.until(lambda: running_with(api) == "1" and not resize_conditions(api))
        await asyncio.sleep(60)
        events = [e for e in api.events("web") if e[0].startswith("Resize")]

    [main] = status(api)["containerStatuses"]
    assert (main["restartCount"], main["allocatedResources"]["cpu"]) == (0, "1")
    assert [r.cpu_quota for r in told] == [100_000]
    assert [reason for reason, _ in events] == ["ResizeStarted", "ResizeCompleted"]
    what, _, summary = events[0][1].partition(": ")
    assert what == "Pod resize started"
    assert json.loads(summary) == {
        "containers": [{"name": "main", "resources": sized("1")["resources"]}],
        "generation": 2,
    }


async def test_a_container_is_restarted_if_it_asks_for_that(
    api: FakeApi, agent: Agent, told: list[Resources]
) -> None:
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    async with agent():
        api.put("pods", pod(sized(resizePolicy=policy)))
        await until_phase(api, "Running")
        resize(api, "1")
        await api.until(lambda: running_with(api) == "1" and not resize_conditions(api))

    assert status(api)["containerStatuses"][0]["restartCount"] == 1
    assert told == []
    assert ("Killing", "Container main resize requires restart") in api.events("web")


async def test_what_cannot_be_given_now_is_given_when_there_is_room(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod(sized()))
        api.put("pods", pod(sized("3"), name="other", uid="other"))
        await until_phase(api, "Running")
        await until_phase(api, "Running", "other")
        resize(api, "2")
        await api.until(lambda: resize_conditions(api))
        deferred = resize_conditions(api)
        counted = running_with(api)
        api.mark_deleted("default", "other", 0)
        await api.until(lambda: running_with(api) == "2" and not resize_conditions(api))

    message = "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
    assert deferred == {"PodResizePending": ("Deferred", message)}
    assert counted == "100m"


async def test_what_can_never_be_given_is_said_until_it_is_taken_back(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod(sized()))
        await until_phase(api, "Running")
        resize(api, "100")
        await api.until(lambda: resize_conditions(api))
        said = resize_conditions(api)["PodResizePending"][0]
        resize(api, "100m")
        await api.until(lambda: not resize_conditions(api))

    assert said == "Infeasible"


async def test_a_restarted_agent_knows_what_it_gave(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod(sized()))
        await until_phase(api, "Running")
        await asyncio.sleep(1)
    resize(api, "100")
    async with agent():
        await api.until(lambda: resize_conditions(api))
        await asyncio.sleep(1)

    assert running_with(api) == "100m"


async def test_a_resize_that_the_runtime_refuses_is_tried_again(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = list[int]()

    async def refuse(container_id: str, resources: Resources) -> None:
        tries.append(resources.cpu_quota)
        if len(tries) < 3:
            raise RuntimeFailure("memory below usage")

    monkeypatch.setattr(runtime, "update_resources", refuse)
    async with agent():
        api.put("pods", pod(sized()))
        await until_phase(api, "Running")
        resize(api, "1")
        await api.until(lambda: "Error" in str(resize_conditions(api)))
        failed = resize_conditions(api)
        await api.until(lambda: running_with(api) == "1" and not resize_conditions(api))

    assert failed == {"PodResizeInProgress": ("Error", "memory below usage")}
    assert len(tries) == 3

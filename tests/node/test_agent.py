"""The whole agent on the simulated runtime and a dictionary API server, under virtual time."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.node.builders import container, pod
from tests.node.fake_api import FakeApi
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.node import podstatus
from timonel.node.cri.runtime import Condition, SandboxConfig
from timonel.node.cri.simulated import SimulatedRuntime
from timonel.node.nodestatus import Machine
from timonel.node.pods import RELIST
from timonel.node.shell import NodeAgent, NodeConfig
from timonel.objects.meta import Object

MACHINE = Machine(
    4, 8 << 30, 4 << 30, 100 << 30, 50 << 30, 32768, 200, "m", "s", "b", "6.1", "Debian", "amd64"
)
Agent = Callable[[], AbstractAsyncContextManager[None]]


class LoopClock(SystemClock):
    """The wall clock follows the loop's time, which is virtual here."""

    def now(self) -> float:
        return 1_800_000_000.0 + asyncio.get_running_loop().time()


@pytest.fixture
def clock() -> SystemClock:
    return LoopClock()


@pytest.fixture
def api(clock: SystemClock) -> FakeApi:
    return FakeApi(clock.now)


@pytest.fixture
def runtime(clock: SystemClock) -> SimulatedRuntime:
    return SimulatedRuntime(clock, missing_images=["docker.io/library/nope:latest"])


@pytest.fixture
def agent(api: FakeApi, runtime: SimulatedRuntime, clock: SystemClock) -> Agent:
    config = NodeConfig("n1", "10.0.0.1", Path("/nowhere"), is_simulated=True, machine=MACHINE)
    return lambda: running(NodeAgent(config, api, runtime, clock))


def status(api: FakeApi, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = (api.find("pods", "default", name) or {}).get("status", {})
    return found


async def until_phase(api: FakeApi, phase: str, name: str = "web") -> None:
    await api.until(lambda: status(api, name).get("phase") == phase)


async def test_the_node_registers_and_says_that_it_is_ready(api: FakeApi, agent: Agent) -> None:
    async with agent():
        await asyncio.sleep(25)
        node = api.find("nodes", "", "n1")
        lease = api.find("leases", "kube-node-lease", "n1")

    assert node is not None
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
    assert node["status"]["capacity"]["cpu"] == "4"
    assert [c["type"] for c in node["status"]["conditions"] if c["status"] == "True"] == ["Ready"]
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "n1"


async def test_a_resource_that_somebody_advertises_can_be_allocated_until_it_is_taken_back(
    api: FakeApi, agent: Agent
) -> None:
    def told(amount: str | None) -> Object:
        node = copy.deepcopy(api.find("nodes", "", "n1"))
        assert node is not None
        node["status"]["capacity"].pop("example.com/dongle", None)
        if amount is not None:
            node["status"]["capacity"]["example.com/dongle"] = amount
        return node

    def allocatable() -> str | None:
        node = api.find("nodes", "", "n1")
        assert node is not None
        found: str | None = node["status"]["allocatable"].get("example.com/dongle")
        return found

    async with agent():
        await asyncio.sleep(25)
        api.put("nodes", told("4"))
        await asyncio.sleep(25)
        given = allocatable()
        api.put("nodes", told(None))
        await asyncio.sleep(25)
        writes = len(api.writes)
        await asyncio.sleep(60)

    assert (given, allocatable()) == ("4", None)
    assert len([w for w in api.writes[writes:] if w[0] == "nodes"]) == 0


async def test_a_pod_runs_and_is_told_about(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod())
        await until_phase(api, "Running")
        await asyncio.sleep(1)

    assert status(api)["containerStatuses"][0]["ready"]
    assert api.events("web") == [
        ("Pulling", 'Pulling image "busybox"'),
        (
            "Pulled",
            'Successfully pulled image "busybox" in 0s (0s including waiting). Image size: 4194304 bytes.',
        ),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ]


async def test_a_job_ends_by_itself(api: FakeApi, agent: Agent, runtime: SimulatedRuntime) -> None:
    async with agent():
        api.put("pods", pod(restartPolicy="Never", initContainers=[container("i1")]))
        await until_phase(api, "Succeeded")
        sandboxes = await runtime.list_sandboxes()

    assert status(api)["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert [str(s.state) for s in sandboxes] == ["not-ready"]


async def test_what_has_ended_and_is_kept_costs_nothing_when_the_runtime_is_listed(
    api: FakeApi, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    build = podstatus.build

    def counted(pod: Object, *args: Any) -> podstatus.Status:
        built.append(pod["metadata"]["name"])
        return build(pod, *args)

    monkeypatch.setattr(podstatus, "build", counted)
    async with agent():
        api.put("pods", pod(restartPolicy="Never"))
        api.put("pods", pod(name="goes-on", uid="3333"))
        await until_phase(api, "Succeeded")
        await until_phase(api, "Running", "goes-on")
        await asyncio.sleep(RELIST)
        built.clear()
        await asyncio.sleep(3 * RELIST)

    assert set(built) == {"goes-on"}


async def test_a_deleted_pod_is_stopped_and_its_object_removed(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime
) -> None:
    async with agent():
        api.put("pods", pod())
        await until_phase(api, "Running")
        api.mark_deleted("default", "web", 30)
        await api.until(lambda: not api.objects("pods"))
        await asyncio.sleep(1)
        left = await runtime.list_sandboxes()

    assert left == []
    assert ("Killing", "Stopping container main") in api.events("web")


async def test_a_crashing_container_backs_off_longer_and_longer(api: FakeApi, agent: Agent) -> None:
    crashing = pod()
    crashing["metadata"]["annotations"] = {"timonel.dev/simulate": '{"runFor": "1s", "exitCode": 1}'}
    async with agent():
        api.put("pods", crashing)
        restarts = dict[int, float]()
        begun = asyncio.get_running_loop().time()
        for count in (1, 2, 3):
            await api.until(
                lambda n=count: status(api).get("containerStatuses", [{}])[0].get("restartCount") == n
            )
            restarts[count] = asyncio.get_running_loop().time() - begun
        await api.until(lambda: "40s" in str(status(api)))

    assert [round(seconds) for seconds in restarts.values()] == [1, 12, 33]
    waiting = status(api)["containerStatuses"][0]["state"]["waiting"]
    assert waiting["message"] == "back-off 40s restarting failed container=main pod=web_default(1111-2222)"


async def test_an_image_that_is_not_there_is_tried_again(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod(container(image="nope")))
        await api.until(lambda: "ErrImagePull" in str(status(api)))
        await api.until(lambda: "ImagePullBackOff" in str(status(api)))
        await asyncio.sleep(60)

    reasons = [reason for reason, _ in api.events("web")]
    assert reasons == ["Pulling", "Failed", "Failed", "BackOff", "Failed"]
    pulls = [e["count"] for e in api.objects("events") if e["reason"] == "Pulling"]
    assert pulls == [3]  # after 10 and 20 seconds


async def test_a_missing_config_map_holds_the_container_until_it_comes(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod(container(envFrom=[{"configMapRef": {"name": "cm"}}])))
        await api.until(lambda: "CreateContainerConfigError" in str(status(api)))
        message = status(api)["containerStatuses"][0]["state"]["waiting"]["message"]
        before = asyncio.get_running_loop().time()
        api.put("configmaps", {"metadata": {"name": "cm", "namespace": "default"}, "data": {"a": "1"}})
        await until_phase(api, "Running")
        took = asyncio.get_running_loop().time() - before

    assert message == 'configmap "cm" not found'
    assert took < 1


async def test_a_restarted_agent_takes_up_what_runs(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod())
        await until_phase(api, "Running")
    before = status(api)
    async with agent():
        await asyncio.sleep(30)

    assert status(api) == before


async def test_what_ended_while_the_agent_was_away_is_seen(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime
) -> None:
    async with agent():
        api.put("pods", pod())
        api.put("pods", pod(name="gone", uid="3333"))
        await until_phase(api, "Running")
        await until_phase(api, "Running", "gone")
    for found in await runtime.list_containers():
        if found.labels["io.kubernetes.pod.name"] == "web":
            await runtime.stop_container(found.id, 0)
    api.remove("pods", "default", "gone")
    async with agent():
        await api.until(lambda: status(api)["containerStatuses"][0]["restartCount"] == 1)
        await asyncio.sleep(1)
        names = [s.name for s in await runtime.list_sandboxes()]

    assert names == ["web"]
    assert status(api)["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


async def test_a_pod_that_does_not_fit_is_refused(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime
) -> None:
    async with agent():
        api.put("pods", pod(container(resources={"requests": {"cpu": "5"}})))
        await until_phase(api, "Failed")

    assert status(api)["reason"] == "OutOfcpu"
    assert await runtime.list_sandboxes() == []


async def test_a_pod_may_not_run_longer_than_its_deadline(api: FakeApi, agent: Agent) -> None:
    async with agent():
        begun = asyncio.get_running_loop().time()
        api.put("pods", pod(activeDeadlineSeconds=60))
        await until_phase(api, "Failed")
        took = asyncio.get_running_loop().time() - begun

    assert status(api)["reason"] == "DeadlineExceeded"
    assert 58 <= took <= 62


async def test_a_replaced_sandbox_brings_the_containers_back(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime
) -> None:
    async with agent():
        api.put("pods", pod())
        await until_phase(api, "Running")
        sandbox = (await runtime.list_sandboxes())[0]
        await runtime.stop_sandbox(sandbox.id)
        await api.until(lambda: status(api)["containerStatuses"][0]["restartCount"] == 1)
        await api.until(lambda: "running" in status(api)["containerStatuses"][0]["state"])
        attempts = sorted(s.attempt for s in await runtime.list_sandboxes())

    assert attempts == [0, 1]


async def test_a_node_is_ready_soon_after_its_runtime(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = [
        Condition("RuntimeReady", True),
        Condition("NetworkReady", False, "NetworkPluginNotReady", "not yet"),
    ]

    async def conditions() -> list[Condition]:
        return network

    def is_ready() -> bool:
        node = api.find("nodes", "", "n1")
        return node is not None and node["status"]["conditions"][3]["status"] == "True"

    monkeypatch.setattr(runtime, "conditions", conditions)
    async with agent():
        await asyncio.sleep(1)
        before = is_ready()
        network[1] = Condition("NetworkReady", True)
        await asyncio.sleep(0.5)
        after = is_ready()

    assert (before, after) == (False, True)


async def test_what_the_control_plane_wrote_while_the_node_was_away_is_put_right(
    api: FakeApi, agent: Agent
) -> None:
    def ready() -> str:
        return next(str(c["status"]) for c in status(api)["conditions"] if c["type"] == "Ready")

    async with agent():
        api.put("pods", pod())
        await until_phase(api, "Running")
        await asyncio.sleep(1)
        doubted = copy.deepcopy(api.find("pods", "default", "web"))
        assert doubted is not None
        next(c for c in doubted["status"]["conditions"] if c["type"] == "Ready")["status"] = "False"
        api.put("pods", doubted)
        before = ready()
        await asyncio.sleep(1)
        writes = len(api.writes)
        await asyncio.sleep(60)

    assert (before, ready()) == ("False", "True")
    assert len([w for w in api.writes[writes:] if w[0] == "pods"]) == 0


async def test_a_critical_pod_takes_the_place_of_a_lesser_one(api: FakeApi, agent: Agent) -> None:
    resources = {"requests": {"cpu": "3"}}
    lesser = pod(container(resources=resources), name="lesser", uid="lesser")
    async with agent():
        api.put("pods", lesser)
        await until_phase(api, "Running", "lesser")
        api.put("pods", pod(container(resources=resources), priority=2_000_001_000))
        await until_phase(api, "Running")
        await until_phase(api, "Failed", "lesser")

    ended = status(api, "lesser")
    [disruption] = [c for c in ended["conditions"] if c["type"] == "DisruptionTarget"]
    assert (ended["reason"], ended["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")


async def test_a_pod_s_runtime_class_has_to_exist(api: FakeApi, agent: Agent) -> None:
    async with agent():
        api.put("pods", pod(runtimeClassName="gone"))
        await api.until(lambda: api.events("web"))
        begun = api.events("web")
        api.put("runtimeclasses", {"metadata": {"name": "gone"}, "handler": "runc"})
        await until_phase(api, "Running")

    assert begun[0][0] == "FailedCreatePodSandBox"
    assert 'runtimeclasses.node.k8s.io "gone" not found' in begun[0][1]


async def test_a_container_added_for_debugging_runs_in_the_pod(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime
) -> None:
    secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"a": "MQ=="}}
    debug = container("debug", envFrom=[{"secretRef": {"name": "s"}}], targetContainerName="main")
    async with agent():
        api.put("pods", pod())
        api.put("secrets", secret)
        await until_phase(api, "Running")
        before = status(api)["containerStatuses"]
        debugged = copy.deepcopy(api.find("pods", "default", "web"))
        assert debugged is not None
        debugged["spec"]["ephemeralContainers"] = [debug]
        api.put("pods", debugged)
        await api.until(lambda: "running" in str(status(api).get("ephemeralContainerStatuses")))
        [event] = [e for e in api.objects("events") if "ephemeral" in e["involvedObject"].get("fieldPath", "")
                   and e["reason"] == "Started"]  # fmt: skip

    assert status(api)["containerStatuses"] == before
    assert event["involvedObject"]["fieldPath"] == "spec.ephemeralContainers{debug}"


async def test_sidecars_end_last_and_in_their_opposite_order(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = list[tuple[str, float]]()
    stop = runtime.stop_container

    async def slow_stop(container_id: str, timeout: float) -> None:
        found = await runtime.container_status(container_id)
        await asyncio.sleep(4)
        ended.append((found.name, timeout))
        await stop(container_id, timeout)

    monkeypatch.setattr(runtime, "stop_container", slow_stop)
    sidecars = [container(name, restartPolicy="Always") for name in ("s", "t")]
    async with agent():
        api.put("pods", pod(initContainers=sidecars))
        await until_phase(api, "Running")
        api.mark_deleted("default", "web", 9)
        await api.until(lambda: not api.objects("pods"))

    assert [name for name, _ in ended] == ["main", "t", "s"]
    assert [round(grace) for _, grace in ended] == [9, 5, 2]


async def test_a_pod_that_is_deleted_while_its_sandbox_is_made_leaves_none(
    api: FakeApi, agent: Agent, runtime: SimulatedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, was_broken_off = runtime.run_sandbox, list[bool]()

    async def slowly(config: SandboxConfig, handler: str = "") -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            was_broken_off.append(True)
            raise
        return await run(config, handler)

    monkeypatch.setattr(runtime, "run_sandbox", slowly)
    async with agent():
        begun = asyncio.get_running_loop().time()
        api.put("pods", pod())
        await asyncio.sleep(1)
        api.mark_deleted("default", "web", 0)
        await api.until(lambda: not api.objects("pods"))
        took = asyncio.get_running_loop().time() - begun
        await asyncio.sleep(1)
        left = await runtime.list_sandboxes()

    assert (left, was_broken_off) == ([], [])
    assert 5 <= took < 6

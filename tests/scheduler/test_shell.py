"""The service against a cluster in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.scheduler.test_cycle import node, pod
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource, Unreachable
from timonel.objects.meta import Key, Object
from timonel.scheduler.shell import Scheduler

NODES = Resource("", "v1", "nodes", False)
PODS = Resource("", "v1", "pods", True)
EVENTS = Resource("", "v1", "events", True)
INDEX = ResourceIndex(
    ResourceInfo(Resource(group, "v1", plural, namespaced), "")
    for group, plural, namespaced in (
        ("", "nodes", False),
        ("", "pods", True),
        ("", "namespaces", False),
        ("", "persistentvolumeclaims", True),
        ("", "persistentvolumes", False),
        ("storage.k8s.io", "storageclasses", False),
    )
)
P = Key("shop", "p")


@pytest.fixture
def cluster() -> MemoryTransport:
    return MemoryTransport(SystemClock())


@asynccontextmanager
async def scheduling(cluster: MemoryTransport) -> AsyncIterator[None]:
    async with running(Scheduler(cluster, index=INDEX, clock=SystemClock())):
        yield


async def node_of(cluster: MemoryTransport, after: float) -> str | None:
    await asyncio.sleep(after)
    found: str | None = (await cluster.get(PODS, P))["spec"].get("nodeName")
    return found


async def test_a_pod_gets_a_node_and_an_event_tells(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1"))
    async with scheduling(cluster):
        await cluster.create(PODS, pod())

        assert await node_of(cluster, 1) == "n1"
        events = (await cluster.list(EVENTS)).items
        assert [(e["reason"], e["message"]) for e in events] == [
            ("Scheduled", "Successfully assigned shop/p to n1")
        ]


async def test_a_pod_without_a_place_says_why_and_gets_the_node_that_comes(cluster: MemoryTransport) -> None:
    async with scheduling(cluster):
        await cluster.create(PODS, pod())
        assert await node_of(cluster, 1) is None
        (condition,) = (await cluster.get(PODS, P))["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == "no nodes available to schedule pods"

        await cluster.create(NODES, node("n1"))

        assert await node_of(cluster, 2) == "n1"


async def test_a_pod_gets_the_place_of_one_that_goes(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1", cpu="2"))
    async with scheduling(cluster):
        await cluster.create(PODS, {**pod("a", cpu="2")})
        await asyncio.sleep(1)
        await cluster.create(PODS, pod(cpu="2"))
        assert await node_of(cluster, 1) is None

        await cluster.delete(PODS, Key("shop", "a"))

        assert await node_of(cluster, 2) == "n1"


async def test_a_gated_pod_waits_for_its_gates(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1"))
    async with scheduling(cluster):
        await cluster.create(PODS, pod(schedulingGates=[{"name": "example.com/wait"}]))
        assert await node_of(cluster, 5) is None

        await cluster.patch(PODS, P, {"spec": {"schedulingGates": None}})

        assert await node_of(cluster, 1) == "n1"


async def test_a_failed_binding_gives_the_place_back_and_is_tried_again(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1", cpu="2"))
    refused = 0

    def fault(verb: str, resource: Resource, key: Key) -> None:
        nonlocal refused
        if verb == "create binding" and refused < 2:
            refused += 1
            raise Unreachable("the wire is cut")

    cluster.fault = fault
    async with scheduling(cluster):
        await cluster.create(PODS, pod(cpu="2"))

        assert await node_of(cluster, 10) == "n1"
        assert refused == 2


async def test_an_idle_scheduler_sends_nothing(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1"))
    async with scheduling(cluster):
        await cluster.create(PODS, pod())
        await node_of(cluster, 1)
        before = len(cluster.requests)

        await asyncio.sleep(3600)

        assert len(cluster.requests) == before


# ---- what a pod's status says, and for how long


async def status_of(cluster: MemoryTransport, name: str = "p") -> Object:
    found: Object = (await cluster.get(PODS, Key("shop", name))).get("status") or {}
    return found


async def messages(cluster: MemoryTransport, reason: str) -> list[str]:
    return [e["message"] for e in (await cluster.list(EVENTS)).items if e["reason"] == reason]


async def test_a_nomination_ends_with_the_chance_that_it_stood_for(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1", cpu="1"))
    nominated = pod(cpu="2")
    nominated["status"] = {"nominatedNodeName": "n1"}
    async with scheduling(cluster):
        await cluster.create(PODS, nominated)
        await asyncio.sleep(1)

        assert "nominatedNodeName" not in await status_of(cluster)


async def test_a_node_that_others_have_nominated_is_tried_first(cluster: MemoryTransport) -> None:
    for name in ("n1", "n2", "n3"):
        await cluster.create(NODES, node(name, cpu="2" if name == "n3" else "8"))
    async with scheduling(cluster):
        waiting = pod(cpu="1", schedulingGates=[{"name": "example.com/wait"}])
        await cluster.create(PODS, waiting)
        await asyncio.sleep(1)
        await cluster.patch(PODS, P, {"status": {"nominatedNodeName": "n3"}}, subresource="status")
        await cluster.patch(PODS, P, {"spec": {"schedulingGates": None}})

        assert await node_of(cluster, 1) == "n3"


async def test_after_a_binding_that_failed_no_node_is_nominated(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1"))

    def fault(verb: str, resource: Resource, key: Key) -> None:
        if verb == "create binding":
            raise Unreachable("the wire is cut")

    cluster.fault = fault
    nominated = pod()
    nominated["status"] = {"nominatedNodeName": "n1"}
    async with scheduling(cluster):
        await cluster.create(PODS, nominated)
        await asyncio.sleep(0.5)

        status = await status_of(cluster)
        assert "nominatedNodeName" not in status
        (condition,) = status["conditions"]
        assert condition["reason"] == "SchedulerError"
        assert condition["message"].startswith('running Bind plugin "DefaultBinder": ')
        assert await messages(cluster, "FailedScheduling") == [condition["message"]]


async def test_a_pod_that_is_being_deleted_is_passed_over(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1"))
    held = pod()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    async with scheduling(cluster):
        await cluster.create(PODS, held)

        assert await node_of(cluster, 1) is None
        assert await messages(cluster, "FailedScheduling") == ["skip schedule deleting pod: shop/p"]


async def test_the_condition_keeps_its_time_while_only_the_words_change(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1", cpu="1"))
    async with scheduling(cluster):
        await cluster.create(PODS, pod(cpu="4"))
        await asyncio.sleep(1)
        (before,) = (await status_of(cluster))["conditions"]
        await asyncio.sleep(60)
        await cluster.create(NODES, node("n2", cpu="2"))
        await asyncio.sleep(2)
        (after,) = (await status_of(cluster))["conditions"]

        assert before["message"].startswith("0/1 nodes are available: 1 Insufficient cpu.")
        assert after["message"].startswith("0/2 nodes are available: 2 Insufficient cpu.")
        assert after["lastTransitionTime"] == before["lastTransitionTime"]


async def test_victims_are_told_and_given_their_grace(cluster: MemoryTransport) -> None:
    await cluster.create(NODES, node("n1", cpu="2"))
    async with scheduling(cluster):
        await cluster.create(PODS, pod("low", cpu="2", terminationGracePeriodSeconds=30))
        await asyncio.sleep(1)
        await cluster.create(PODS, pod(cpu="2", priority=5))
        await asyncio.sleep(1)
        uid = (await cluster.get(PODS, P))["metadata"]["uid"]

        assert await messages(cluster, "Preempted") == [f"Preempted by pod {uid} on node n1"]
        assert await node_of(cluster, 2) == "n1"

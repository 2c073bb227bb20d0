from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource
from timonel.control.actions import Create, Outcome, Plan, Terminal, Told
from timonel.control.declare import AnyControllerType, Cache, ControllerType, Watch, its_controller
from timonel.control.runtime import Controllers
from timonel.control.workers import backoff
from timonel.machinery.errors import Forbidden
from timonel.objects.meta import Key, Object, controller_ref

SETS = Resource("apps", "v1", "replicasets", True)
PODS = Resource("", "v1", "pods", True)
INDEX = ResourceIndex([ResourceInfo(SETS, "ReplicaSet"), ResourceInfo(PODS, "Pod")])
ALL_VERBS = ("create", "delete", "deletecollection", "list", "watch")


def replica_set(name: str, replicas: int, namespace: str = "shop") -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas},
    }


def observe(desired: Object, cache: Cache) -> int:
    return len(cache.controlled_by(desired, "pods"))


def reconcile(desired: Object, pods: int) -> Plan:
    if desired["metadata"]["name"] == "poisoned":
        raise ValueError("poisoned")
    if desired["metadata"]["name"] == "hopeless":
        raise Terminal("hopeless")
    pod = {
        "metadata": {
            "generateName": f"{desired['metadata']['name']}-",
            "namespace": desired["metadata"]["namespace"],
            "ownerReferences": [controller_ref(desired)],
        }
    }
    failed = Told("NotMade", "cannot make it: ")
    return Plan(
        tuple(
            Create("pods", pod, event=True, failed=failed) for _ in range(desired["spec"]["replicas"] - pods)
        )
    )


def status(desired: Object, pods: int, outcome: Outcome) -> dict[str, Any]:
    failed = {"failed": str(outcome.error)} if outcome.error is not None else {}
    return {"replicas": pods, **failed}


MAKER: AnyControllerType = ControllerType(
    name="maker",
    watches=(Watch("replicasets.apps"), Watch("pods", wakes=its_controller("ReplicaSet"))),
    observe=observe,
    reconcile=reconcile,
    status=status,
)


@pytest.fixture
def cluster() -> MemoryTransport:
    return MemoryTransport(SystemClock())


@asynccontextmanager
async def controllers(cluster: MemoryTransport) -> AsyncIterator[Controllers]:
    service = Controllers([MAKER], transport_for=lambda name: cluster, index=INDEX, clock=SystemClock())
    async with running(service):
        yield service


async def pods_of(cluster: MemoryTransport, count: int) -> int:
    """Wait (in virtual time) until there are `count` pods, then a while longer to see whether more come."""
    async with asyncio.timeout(60):
        before = await cluster.list(PODS)
        missing = count - len(before.items)
        if missing > 0:
            async for _ in cluster.watch(PODS, resource_version=before.resource_version):
                missing -= 1
                if not missing:
                    break
    await asyncio.sleep(5)
    return len((await cluster.list(PODS)).items)


async def test_a_plan_is_carried_out_once(cluster: MemoryTransport) -> None:
    async with controllers(cluster):
        await cluster.create(SETS, replica_set("web", 7))

        assert await pods_of(cluster, 7) == 7
        assert (await cluster.get(SETS, Key("shop", "web")))["status"] == {"replicas": 7}


async def test_an_idle_controller_sends_nothing(cluster: MemoryTransport) -> None:
    async with controllers(cluster):
        await cluster.create(SETS, replica_set("web", 2))
        await pods_of(cluster, 2)
        before = len(cluster.requests)

        await asyncio.sleep(3600)

        assert len(cluster.requests) == before


async def test_a_poisoned_object_backs_off_alone(cluster: MemoryTransport) -> None:
    async with controllers(cluster):
        await cluster.create(SETS, replica_set("poisoned", 1))
        await cluster.create(SETS, replica_set("hopeless", 1))
        await cluster.create(SETS, replica_set("web", 1))

        assert await pods_of(cluster, 1) == 1


async def test_a_refused_create_stops_the_plan_and_is_reported(cluster: MemoryTransport) -> None:
    created = 0

    def fault(verb: str, resource: Resource, key: Key) -> None:
        nonlocal created
        if verb == "create" and resource == PODS:
            created += 1
            raise Forbidden("exceeded quota")

    cluster.fault = fault
    async with controllers(cluster):
        await cluster.create(SETS, replica_set("web", 100))
        await asyncio.sleep(0.004)

        assert created <= 2  # one for each pass, not a hundred
        assert (await cluster.get(SETS, Key("shop", "web")))["status"]["failed"] == "exceeded quota"
        cluster.fault = None
        assert await pods_of(cluster, 100) == 100
        events = (await cluster.list(Resource("", "v1", "events", True))).items
        assert {(e["reason"], e["message"]) for e in events} >= {
            ("FailedCreate", "Error creating: exceeded quota"),
            ("NotMade", "cannot make it: exceeded quota"),
        }


async def test_no_more_is_made_while_the_cache_lags_behind(cluster: MemoryTransport) -> None:
    async with controllers(cluster) as service:
        await cluster.create(SETS, replica_set("web", 3))
        for _ in range(200):
            service.controllers[0].queue.add(Key("shop", "web"))  # type: ignore[arg-type]
            await asyncio.sleep(0)

        assert await pods_of(cluster, 3) == 3


def test_the_back_off_doubles_up_to_its_limit() -> None:
    assert [backoff(n) for n in (1, 2, 3)] == [0.005, 0.01, 0.02]
    assert backoff(100) == 1000.0


async def test_a_burst_of_objects_starves_nobody(cluster: MemoryTransport) -> None:
    async with controllers(cluster) as service:
        made = asyncio.create_task(_many(cluster, 2000))
        await asyncio.sleep(0)
        await cluster.create(SETS, replica_set("late", 1))
        order = [n async for n in _served(cluster, 2001)]
        await made

    # First come, first served: whoever came in the middle of it is not served last, and nobody twice.
    assert len(order) == len(set(order)) == 2001
    assert order.index("late") < 1500
    assert service.controllers[0].queue.retries < 50


async def test_who_has_few_objects_does_not_wait_for_who_has_many(cluster: MemoryTransport) -> None:
    for number in range(2000):
        await cluster.create(SETS, replica_set(f"many-{number}", 1, "crowd"))
    for number in range(5):
        await cluster.create(SETS, replica_set(f"few-{number}", 1))
    async with controllers(cluster):
        order = [name async for name in _served(cluster, 2005)]

    # All of them waited when the controller began; namespaces take turns.
    assert [name for name in order[:20] if name.startswith("few")] == [f"few-{n}" for n in range(5)]


async def _many(cluster: MemoryTransport, count: int) -> None:
    for number in range(count):
        await cluster.create(SETS, replica_set(f"many-{number}", 1))
        if not number % 100:
            await asyncio.sleep(0.01)


async def _served(cluster: MemoryTransport, count: int) -> AsyncIterator[str]:
    """Owners of pods in the order in which these were made."""
    async for event in cluster.watch(PODS, resource_version="0"):
        if event.type == "ADDED":
            yield event.object["metadata"]["ownerReferences"][0]["name"]
            count -= 1
        if not count:
            return

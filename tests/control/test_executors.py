"""What is told of actions, and what comes and goes with an owner."""

from __future__ import annotations

import pytest

from timonel.aio.clock import SystemClock
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.rest import Client
from timonel.client.transport import Resource
from timonel.control.actions import Adopt, Create, Delete, Plan, Release, Told
from timonel.control.executors import Executor
from timonel.machinery.errors import Forbidden
from timonel.objects.meta import Key, Object, controller_of

SETS = Resource("apps", "v1", "replicasets", True)
PODS = Resource("", "v1", "pods", True)
INDEX = ResourceIndex([ResourceInfo(SETS, "ReplicaSet"), ResourceInfo(PODS, "Pod")])
KEY = Key("shop", "one")


class Recorded(list[tuple[str, str, str]]):
    def record(self, about: Object, type: str, reason: str, message: str) -> None:
        self.append((type, reason, message))


@pytest.fixture
def told() -> Recorded:
    return Recorded()


@pytest.fixture
def cluster() -> MemoryTransport:
    return MemoryTransport(SystemClock())


@pytest.fixture
def executor(cluster: MemoryTransport, told: Recorded) -> Executor:
    return Executor(Client(cluster, INDEX), INDEX, told, lambda resource, obj: None)


async def owner_in(cluster: MemoryTransport) -> Object:
    made = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "shop"}}
    return await cluster.create(SETS, made)


def pod(*finalizers: str) -> Object:
    meta = {"name": "one", "namespace": "shop", "finalizers": list(finalizers)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta}


async def test_a_finalizer_comes_and_goes_with_the_owner(
    cluster: MemoryTransport, executor: Executor
) -> None:
    owner = await owner_in(cluster)
    uid = (await cluster.create(PODS, pod("other")))["metadata"]["uid"]

    for _ in range(2):  # a second time changes nothing
        await executor.execute(owner, Adopt("pods", KEY, uid, ("mine",)))
        adopted = await cluster.get(PODS, KEY)
        assert adopted["metadata"]["finalizers"] == ["other", "mine"]
        assert (controller_of(adopted) or {})["name"] == "web"

    await executor.execute(owner, Release("pods", KEY, uid, ("mine",)))
    released = await cluster.get(PODS, KEY)
    assert released["metadata"]["finalizers"] == ["other"]
    assert controller_of(released) is None


async def test_what_was_made_is_told_once(
    cluster: MemoryTransport, executor: Executor, told: Recorded
) -> None:
    owner = await owner_in(cluster)
    create = Create("pods", pod(), exists_ok=True, made=Told("Made", "made one"))

    outcomes = [await executor.apply(owner, Plan((create,))) for _ in range(2)]

    assert [o.error for o in outcomes] == [None, None]
    assert [o.results[0] is None for o in outcomes] == [False, True]
    assert told == [("Normal", "Made", "made one")]


async def test_what_cannot_be_deleted_is_told(
    cluster: MemoryTransport, executor: Executor, told: Recorded
) -> None:
    owner = await owner_in(cluster)
    uid = (await cluster.create(PODS, pod()))["metadata"]["uid"]

    def fault(verb: str, resource: Resource, key: Key) -> None:
        if verb == "delete":
            raise Forbidden("not now")

    cluster.fault = fault
    delete = Delete("pods", KEY, uid, failed=Told("FailedDelete", "delete one: "))
    outcome = await executor.apply(owner, Plan((delete,)))

    assert isinstance(outcome.error, Forbidden)
    assert told == [("Warning", "FailedDelete", "delete one: not now")]

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.control.test_runtime import ALL_VERBS, PODS, SETS, replica_set
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.fake import MemoryTransport
from timonel.client.transport import Resource
from timonel.control.runtime import Controllers
from timonel.controllers.garbage_collector import GARBAGE_COLLECTOR
from timonel.controllers.namespace import NAMESPACE
from timonel.machinery.errors import NotFound
from timonel.objects.meta import Key, Object, controller_ref

NAMESPACES = Resource("", "v1", "namespaces", False)
INDEX = ResourceIndex(
    [
        ResourceInfo(SETS, "ReplicaSet", verbs=ALL_VERBS),
        ResourceInfo(PODS, "Pod", verbs=ALL_VERBS),
        ResourceInfo(NAMESPACES, "Namespace", verbs=("delete", "list", "watch")),
    ]
)
WEB = Key("shop", "web")


@asynccontextmanager
async def collecting(cluster: MemoryTransport) -> AsyncIterator[None]:
    service = Controllers(
        [GARBAGE_COLLECTOR, NAMESPACE], transport_for=lambda name: cluster, index=INDEX, clock=SystemClock()
    )
    async with running(service):
        yield


def pod(name: str, owner: Object | None, *, blocks: bool = True, namespace: str = "shop") -> Object:
    meta: Object = {"name": name, "namespace": namespace}
    if owner is not None:
        meta["ownerReferences"] = [{**controller_ref(owner), "blockOwnerDeletion": blocks}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}}


async def names(cluster: MemoryTransport) -> set[str]:
    await asyncio.sleep(10)
    return {o["metadata"]["name"] for r in (SETS, PODS) for o in (await cluster.list(r)).items}


@pytest.fixture
async def cluster() -> MemoryTransport:
    return MemoryTransport(SystemClock())


async def test_dependents_follow_their_owner(cluster: MemoryTransport) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    await cluster.create(PODS, pod("a", owner))
    await cluster.create(PODS, pod("free", None))
    async with collecting(cluster):
        await cluster.delete(SETS, WEB, propagation="Background")

        assert await names(cluster) == {"free"}


async def test_owners_that_vanished_while_nobody_looked_are_noticed(cluster: MemoryTransport) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    await cluster.create(PODS, pod("a", owner))
    await cluster.delete(SETS, WEB)
    await cluster.create(SETS, replica_set("web", 1))  # a namesake is not the owner
    async with collecting(cluster):
        assert await names(cluster) == {"web"}


async def test_orphans_lose_their_reference_and_stay(cluster: MemoryTransport) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    await cluster.create(PODS, pod("a", owner))
    async with collecting(cluster):
        await cluster.delete(SETS, WEB, propagation="Orphan")

        assert await names(cluster) == {"a"}
        assert "ownerReferences" not in (await cluster.get(PODS, Key("shop", "a")))["metadata"]


@pytest.mark.parametrize("blocks", [True, False])
async def test_in_the_foreground_the_owner_waits_for_those_that_block(
    cluster: MemoryTransport, blocks: bool
) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    held = pod("a", owner, blocks=blocks)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.create(PODS, held)
    async with collecting(cluster):
        await cluster.delete(SETS, WEB, propagation="Foreground")

        assert ("web" in await names(cluster)) is blocks
        await cluster.patch(PODS, Key("shop", "a"), {"metadata": {"finalizers": None}})
        assert await names(cluster) == set()


async def test_an_owner_in_another_namespace_is_none(cluster: MemoryTransport) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    async with collecting(cluster):
        await cluster.create(PODS, pod("a", owner, namespace="other"), namespace="other")

        assert await names(cluster) == {"web"}


async def test_one_living_owner_is_enough(cluster: MemoryTransport) -> None:
    first = await cluster.create(SETS, replica_set("web", 1))
    second = await cluster.create(SETS, replica_set("other", 1))
    shared = pod("a", first)
    shared["metadata"]["ownerReferences"].append({**controller_ref(second), "controller": False})
    await cluster.create(PODS, shared)
    async with collecting(cluster):
        await cluster.delete(SETS, WEB, propagation="Background")

        assert await names(cluster) == {"other", "a"}
        refs = (await cluster.get(PODS, Key("shop", "a")))["metadata"]["ownerReferences"]
        assert [ref["name"] for ref in refs] == ["other"]


async def test_a_circle_in_the_foreground_ends(cluster: MemoryTransport) -> None:
    a = await cluster.create(PODS, pod("a", None))
    b = await cluster.create(PODS, pod("b", a))
    await cluster.patch(PODS, Key("shop", "a"), {"metadata": {"ownerReferences": [controller_ref(b)]}})
    async with collecting(cluster):
        await cluster.delete(PODS, Key("shop", "a"), propagation="Foreground")

        assert await names(cluster) == set()


async def test_a_namespace_is_emptied_pods_first(cluster: MemoryTransport) -> None:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop"},
        "spec": {"finalizers": ["kubernetes"]},
    }
    await cluster.create(NAMESPACES, namespace)
    await cluster.create(SETS, replica_set("web", 1))
    held = pod("a", None)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.create(PODS, held)
    async with collecting(cluster):
        await cluster.delete(NAMESPACES, Key("", "shop"))

        assert await names(cluster) == {"web", "a"}
        found = await cluster.get(NAMESPACES, Key("", "shop"))
        conditions = {c["type"]: (c["status"], c["message"]) for c in found["status"]["conditions"]}
        assert conditions["NamespaceContentRemaining"] == (
            "True",
            "Some resources are remaining: pods. has 1 resource instances",
        )
        assert conditions["NamespaceFinalizersRemaining"] == (
            "True",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        )
        await cluster.patch(PODS, Key("shop", "a"), {"metadata": {"finalizers": None}})
        assert await names(cluster) == set()
        with pytest.raises(NotFound):
            await cluster.get(NAMESPACES, Key("", "shop"))


async def complaints(cluster: MemoryTransport) -> list[str]:
    found = (await cluster.list(Resource("", "v1", "events", True))).items
    return [e["message"] for e in found if e["reason"] == "OwnerRefInvalidNamespace"]


async def test_an_owner_in_another_namespace_is_complained_of(cluster: MemoryTransport) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    uid = owner["metadata"]["uid"]
    async with collecting(cluster):
        await cluster.create(PODS, pod("a", owner, namespace="other"), namespace="other")
        await names(cluster)
        refs = pod("x", owner)["metadata"]["ownerReferences"]
        mine = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "mine", "ownerReferences": refs},
        }
        await cluster.create(NAMESPACES, mine)
        await names(cluster)

        assert await cluster.get(NAMESPACES, Key("", "mine"))  # what has no namespace is not deleted for that
        assert sorted(await complaints(cluster)) == [
            f"ownerRef [apps/v1/ReplicaSet, namespace: {space}, name: web, uid: {uid}] does not exist in"
            f' namespace "{space}"'
            for space in ("", "other")
        ]


@pytest.mark.parametrize("wrong", [{"name": "other"}, {"kind": "Pod", "apiVersion": "v1"}])
async def test_a_reference_with_the_right_uid_and_a_wrong_name_means_nobody(
    cluster: MemoryTransport, wrong: Object
) -> None:
    owner = await cluster.create(SETS, replica_set("web", 1))
    async with collecting(cluster):
        mistaken = pod("a", owner)
        mistaken["metadata"]["ownerReferences"][0] |= wrong
        await cluster.create(PODS, mistaken)
        await cluster.create(PODS, pod("b", owner))

        assert await names(cluster) == {"web", "b"}


def survivors(owners: dict[str, set[str]], victim: str, policy: str) -> dict[str, set[str]]:
    """Who is left, and whom they still name, when an object of a graph is deleted: by the rules, not step by step."""
    left = {name: set(named) for name, named in owners.items() if name != victim}
    if policy == "Orphan":
        return {name: named - {victim} for name, named in left.items()}
    had_owners = {name for name, named in left.items() if named}
    while True:
        left = {name: named & left.keys() for name, named in left.items()}
        lost = {name for name, named in left.items() if name in had_owners and not named}
        if not lost:
            return left
        left = {name: named for name, named in left.items() if name not in lost}


@pytest.mark.parametrize("seed", range(12))
async def test_any_graph_comes_to_what_the_rules_say(cluster: MemoryTransport, seed: int) -> None:
    """Circles, several owners, and the three ways to delete, in any order."""
    dice = random.Random(seed)
    made = [await cluster.create(SETS, replica_set(f"o{n}", 1)) for n in range(dice.randint(3, 9))]
    by_name = {o["metadata"]["name"]: {"apiVersion": "apps/v1", "kind": "ReplicaSet", **o} for o in made}
    owners: dict[str, set[str]] = {}
    for name in by_name:
        owners[name] = set(dice.sample(sorted(by_name), dice.choice((0, 1, 1, 2)))) - {name}
        refs = [
            {**controller_ref(by_name[owner]), "controller": False, "blockOwnerDeletion": dice.random() < 0.7}
            for owner in sorted(owners[name])
        ]
        await cluster.patch(SETS, Key("shop", name), {"metadata": {"ownerReferences": refs or None}})
    async with collecting(cluster):
        while owners and dice.random() < 0.8:
            victim, policy = dice.choice(sorted(owners)), dice.choice(("Background", "Foreground", "Orphan"))
            await cluster.delete(SETS, Key("shop", victim), propagation=policy)
            owners = survivors(owners, victim, policy)

            assert await names(cluster) == owners.keys(), (victim, policy)
            found = {
                o["metadata"]["name"]: {r["name"] for r in o["metadata"].get("ownerReferences") or ()}
                for o in (await cluster.list(SETS)).items
            }
            assert found == owners

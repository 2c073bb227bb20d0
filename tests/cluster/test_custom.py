"""Custom resources among the controllers: owners and dependents, quotas, namespaces that go."""

from __future__ import annotations

from typing import Any

from tests.cluster.harness import NAMESPACE, World, cluster
from timonel.client.discovery import UnknownResource
from timonel.objects.meta import Key, Object

THINGS = "things.example.com"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def definition() -> Object:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return {"metadata": {"name": THINGS}, "spec": spec}


def thing(name: str, *owners: Object) -> Object:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": {"name": name, "ownerReferences": [reference(owner) for owner in owners]},
    }


def reference(owner: Object) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }


async def installed(world: World) -> None:
    """The controllers know of it, too."""
    await world.client.create(CRDS, definition())

    async def is_known() -> bool:
        try:
            return await world.names(THINGS) == []
        except UnknownResource:
            return False

    await world.until(is_known)


async def test_dependents_follow_custom_owners_and_custom_dependents_any_owner() -> None:
    async with cluster() as world:
        await installed(world)
        top = await world.create(THINGS, thing("top"))
        await world.create(THINGS, thing("below", top))
        await world.create("configmaps", {"metadata": {"name": "m", "ownerReferences": [reference(top)]}})
        await world.pass_by(2)
        before = await world.names(THINGS)
        await world.delete(THINGS, "top", propagation="Foreground")

        async def is_empty() -> bool:
            return not await world.names(THINGS) and await world.find("configmaps", "m") is None

        await world.until(is_empty)

    assert before == ["below", "top"]


async def test_a_quota_counts_custom_objects_and_gives_back_what_is_deleted() -> None:
    async def used() -> str:
        found = await world.status("resourcequotas", "q")
        return str(found.get("used", {}).get(f"count/{THINGS}", ""))

    async def is_one() -> bool:
        return await used() == "1"

    async def is_none() -> bool:
        return await used() == "0"

    async with cluster() as world:
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {f"count/{THINGS}": "1"}}}
        await world.create("resourcequotas", quota)
        await installed(world)
        await world.until(is_none)
        await world.create(THINGS, thing("a"))
        await world.until(is_one)
        await world.delete(THINGS, "a")
        await world.until(is_none)


async def test_a_namespace_takes_its_custom_objects_along() -> None:
    async with cluster() as world:
        await installed(world)
        await world.create(THINGS, thing("a"))
        await world.client.delete("namespaces", Key("", NAMESPACE))

        async def is_gone() -> bool:
            return await world.client.find("namespaces", Key("", NAMESPACE)) is None

        await world.until(is_gone)
        left = await world.names(THINGS)

    assert left == []


async def test_what_a_definition_takes_along_is_forgotten() -> None:
    async with cluster() as world:
        await installed(world)
        top = await world.create(THINGS, thing("top"))
        await world.create("configmaps", {"metadata": {"name": "m", "ownerReferences": [reference(top)]}})
        await world.client.delete(CRDS, Key("", THINGS))

        async def is_forgotten() -> bool:
            try:
                world.client.index.resource(THINGS)
            except UnknownResource:
                return await world.find("configmaps", "m") is None
            return False

        await world.until(is_forgotten)

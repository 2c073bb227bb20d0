"""What every Transport promises. Subclass with a `transport` fixture; ConfigMaps are enough to tell."""

from __future__ import annotations

import asyncio

import pytest

from timonel.client.transport import Resource, Transport
from timonel.machinery.errors import AlreadyExists, Conflict, Invalid, NotFound
from timonel.objects.meta import Key, Object

MAPS = Resource("", "v1", "configmaps", True)
WEB = Key("default", "web")


def config_map(name: str = "web", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


class TransportContract:
    async def test_what_was_created_can_be_read(self, transport: Transport) -> None:
        made = await transport.create(MAPS, config_map(a="1"))

        found = await transport.get(MAPS, WEB)
        assert found["data"] == {"a": "1"}
        assert found["metadata"]["uid"] == made["metadata"]["uid"]
        assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_a_name_is_given_once(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map())

        with pytest.raises(AlreadyExists, match='configmaps "web" already exists'):
            await transport.create(MAPS, config_map())

    async def test_a_name_is_generated(self, transport: Transport) -> None:
        obj = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"generateName": "web-", "namespace": "default"},
        }

        made = await transport.create(MAPS, obj)

        assert made["metadata"]["name"].startswith("web-")
        assert len(made["metadata"]["name"]) == 9

    async def test_a_stale_update_loses(self, transport: Transport) -> None:
        made = await transport.create(MAPS, config_map(a="1"))
        await transport.update(MAPS, {**made, "data": {"a": "2"}})

        with pytest.raises(Conflict, match="the object has been modified"):
            await transport.update(MAPS, {**made, "data": {"a": "3"}})

    async def test_an_update_that_changes_nothing_keeps_the_version(self, transport: Transport) -> None:
        made = await transport.create(MAPS, config_map(a="1"))

        same = await transport.update(MAPS, made)

        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_patches_merge(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map(a="1", b="2"))

        found = await transport.patch(MAPS, WEB, {"data": {"a": None, "c": "3"}})

        assert found["data"] == {"b": "2", "c": "3"}

    async def test_json_patches_apply_in_order(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map(a="1"))

        found = await transport.patch(
            MAPS, WEB, [{"op": "replace", "path": "/data/a", "value": "2"}], kind="json"
        )

        assert found["data"] == {"a": "2"}

    async def test_a_patch_for_another_uid_is_refused(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map())

        with pytest.raises(Invalid, match="field is immutable"):
            await transport.patch(MAPS, WEB, {"metadata": {"uid": "00000000-dead-0000-0000-000000000000"}})

    async def test_what_was_deleted_is_gone(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map())
        await transport.delete(MAPS, WEB)

        with pytest.raises(NotFound, match='configmaps "web" not found'):
            await transport.get(MAPS, WEB)

    async def test_a_namesake_is_not_deleted(self, transport: Transport) -> None:
        await transport.create(MAPS, config_map())

        with pytest.raises(Conflict, match="UID in"):
            await transport.delete(MAPS, WEB, uid="00000000-dead-0000-0000-000000000000")

    async def test_finalizers_hold_an_object(self, transport: Transport) -> None:
        held = config_map()
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await transport.create(MAPS, held)

        await transport.delete(MAPS, WEB)

        assert (await transport.get(MAPS, WEB))["metadata"]["deletionTimestamp"]
        await transport.patch(MAPS, WEB, {"metadata": {"finalizers": None}})
        with pytest.raises(NotFound):
            await transport.get(MAPS, WEB)

    async def test_lists_come_in_pages(self, transport: Transport) -> None:
        for name in ("a", "b", "c"):
            await transport.create(MAPS, config_map(name), namespace="default")

        first = await transport.list(MAPS, "default", limit=2)
        second = await transport.list(MAPS, "default", limit=2, continue_token=first.continue_token)

        names = [o["metadata"]["name"] for o in (*first.items, *second.items)]
        assert [n for n in names if n in "abc"] == ["a", "b", "c"]
        assert all(o["kind"] == "ConfigMap" for o in first.items)

    async def test_a_watch_tells_what_happened_since_the_list(self, transport: Transport) -> None:
        before = await transport.list(MAPS, "default")
        await transport.create(MAPS, config_map())
        await transport.patch(MAPS, WEB, {"data": {"a": "1"}})
        await transport.delete(MAPS, WEB)

        seen: list[str] = []
        async with asyncio.timeout(5):
            async for event in transport.watch(MAPS, "default", resource_version=before.resource_version):
                if event.type != "BOOKMARK":
                    seen.append(event.type)
                if len(seen) == 3:
                    break

        assert seen == ["ADDED", "MODIFIED", "DELETED"]

    async def test_a_collection_is_deleted_by_label(self, transport: Transport) -> None:
        labelled = config_map("red")
        labelled["metadata"]["labels"] = {"colour": "red"}
        await transport.create(MAPS, labelled)
        await transport.create(MAPS, config_map("web"))

        await transport.delete_collection(MAPS, "default", label_selector="colour=red")

        left = [o["metadata"]["name"] for o in (await transport.list(MAPS, "default")).items]
        assert "red" not in left
        assert "web" in left

"""What is kept and how: secrets, no-ops, races, restarts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.server.starting import ADMIN, SCHEME, started
from timonel.client.transport import Resource
from timonel.machinery import errors
from timonel.objects.meta import Key
from timonel.store.base import Record
from timonel.store.memory import MemoryStore
from timonel.store.sqlite import SqliteStore

pytestmark = pytest.mark.looptime(False)

MAPS = Resource("", "v1", "configmaps", True)
SECRETS = Resource("", "v1", "secrets", True)
NAMESPACES = Resource("", "v1", "namespaces", False)


async def test_secrets_are_encrypted_in_the_store_and_readable_again() -> None:
    store = MemoryStore()
    secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"password": "aHVudGVyMg=="}}
    async with started(store=store, encryption_key=b"k" * 32) as server:
        await server.transport_for(ADMIN).create(SECRETS, secret)
    record = await store.get("/secrets/default/s")
    async with started(store=store, encryption_key=b"k" * 32) as again:
        found = await again.transport_for(ADMIN).get(SECRETS, Key("default", "s"))

    assert record is not None
    assert b"aHVudGVyMg" not in record.value
    assert found["data"] == secret["data"]


async def test_concurrent_patches_are_all_kept() -> None:
    async with started() as server:
        transport = server.transport_for(ADMIN)
        await transport.create(MAPS, {"metadata": {"name": "a", "namespace": "default"}})

        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(transport.patch(MAPS, Key("default", "a"), {"data": {f"k{n}": "v"}}))

        assert len((await transport.get(MAPS, Key("default", "a")))["data"]) == 20


class _Counting(MemoryStore):
    updates = 0

    async def update(self, key: str, value: bytes, *, expected: int) -> Record:
        self.updates += key.endswith("/default/a")
        await asyncio.sleep(0)
        return await super().update(key, value, expected=expected)


async def test_patches_that_came_too_late_take_turns() -> None:
    store = _Counting()
    async with started(store=store) as server:
        transport = server.transport_for(ADMIN)
        await transport.create(MAPS, {"metadata": {"name": "a", "namespace": "default"}})

        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(transport.patch(MAPS, Key("default", "a"), {"data": {f"k{n}": "v"}}))

        assert store.updates <= 2 * 20


async def test_a_turn_that_was_given_up_leaves_the_line_in_order() -> None:
    async with started() as server:
        turn = server.registry.turn
        first, second = turn("a"), turn("a")
        await first.__aenter__()
        waiting = asyncio.create_task(second.__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await first.__aexit__(None, None, None)

        async with asyncio.timeout(0.5), turn("a"), turn("b"):
            pass


async def test_an_object_survives_a_restart_with_its_version(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    async with started(store=store) as server:
        made = await server.transport_for(ADMIN).create(
            MAPS, {"metadata": {"name": "a", "namespace": "default"}}
        )
    await store.close()
    store = await SqliteStore.open(tmp_path / "state.db")
    async with started(store=store) as again:
        found = await again.transport_for(ADMIN).get(MAPS, Key("default", "a"))
    await store.close()

    assert found == made


async def test_a_page_continues_at_its_revision() -> None:
    async with started() as server:
        transport = server.transport_for(ADMIN)
        for name in "abc":
            await transport.create(MAPS, {"metadata": {"name": name, "namespace": "default"}})
        first = await transport.list(MAPS, "default", limit=2)
        await transport.create(MAPS, {"metadata": {"name": "d", "namespace": "default"}})
        rest = await transport.list(MAPS, "default", limit=2, continue_token=first.continue_token)

        assert [o["metadata"]["name"] for o in rest.items] == ["c"]
        assert rest.resource_version == first.resource_version


async def test_a_secret_whose_key_is_lost_hides_no_other(tmp_path: Path) -> None:
    store = MemoryStore()
    async with started(store=store, encryption_key=b"a" * 32) as server:
        for name in ("lost", "kept"):
            await server.transport_for(ADMIN).create(NAMESPACES, {"metadata": {"name": name[0] * 3}})
            await server.transport_for(ADMIN).create(
                SECRETS, {"metadata": {"name": name, "namespace": name[0] * 3}}
            )
    lost = await store.get("/secrets/lll/lost")
    assert lost is not None
    await store.update(lost.key, b"k8s:enc:aesgcm:v1:key9:" + b"x" * 50, expected=lost.modified)
    why = "no matching key was found for the provided AES transformer"
    text = f'Internal error occurred: unable to transform key "/registry/secrets/lll/lost": {why}'
    async with started(store=store, encryption_key=b"a" * 32) as again:
        client = again.transport_for(ADMIN)
        for attempt in (
            lambda: client.get(SECRETS, Key("lll", "lost")),
            lambda: client.list(SECRETS),
            lambda: client.create(SECRETS, {"metadata": {"name": "lost", "namespace": "lll"}}),
            lambda: client.delete(SECRETS, Key("lll", "lost")),
        ):
            with pytest.raises(errors.InternalError) as caught:
                await attempt()
            assert caught.value.message == text
        assert (await client.get(SECRETS, Key("kkk", "kept")))["metadata"]["name"] == "kept"
        assert [o["metadata"]["name"] for o in (await client.list(SECRETS, "kkk")).items] == ["kept"]


async def test_what_upstream_has_stored_is_served() -> None:
    """As protobuf, and as JSON whose members come in another order."""
    store = MemoryStore()
    codec = SCHEME.codec(next(t for t in SCHEME.resources if t.qualified == "configmaps"))
    for name in ("binary", "text"):
        tree = {
            "data": {"a": "b"},
            "metadata": {"namespace": "default", "name": name, "uid": "u", "labels": {"l": "v"}},
            "apiVersion": "v1",
            "kind": "ConfigMap",
        }
        value = codec.to_protobuf(tree) if name == "binary" else json.dumps(tree).encode()
        await store.create(f"/configmaps/default/{name}", value)
    async with started(store=store) as server:
        client = server.transport_for(ADMIN)
        for name in ("binary", "text"):
            found = await client.get(MAPS, Key("default", name))
            assert (found["data"], found["metadata"]["labels"]) == ({"a": "b"}, {"l": "v"})
            assert found["metadata"]["resourceVersion"]

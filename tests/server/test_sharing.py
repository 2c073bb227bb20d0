"""Two API servers on one etcd: each shows at once what the other has written, and they give out nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.starting import ADMIN, started
from tests.store.etcd.servers import etcd
from timonel.aio.clock import SystemClock
from timonel.client.transport import Resource
from timonel.machinery import errors
from timonel.objects.meta import Key, Object
from timonel.store.etcd.connection import Settings
from timonel.store.etcd.store import EtcdStore

pytestmark = pytest.mark.looptime(False)

MAPS = Resource("", "v1", "configmaps", True)
SERVICES = Resource("", "v1", "services", True)
QUOTAS = Resource("", "v1", "resourcequotas", True)


@asynccontextmanager
async def two_servers(folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """Clients of both."""
    with etcd(folder) as server:
        async with AsyncExitStack() as stack:
            clients = []
            for _ in range(2):
                store = await EtcdStore.open(Settings((server.url,)), SystemClock())
                stack.push_async_callback(store.close)
                api = await stack.enter_async_context(started(store=store, encryption_key=b"k" * 32))
                clients.append(api.transport_for(ADMIN))
            yield clients[0], clients[1]


def config_map(name: str, **data: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_what_one_has_answered_the_other_shows(tmp_path: Path) -> None:
    async with two_servers(tmp_path) as (one, other):
        for n in range(20):
            writer, reader = (one, other) if n % 2 else (other, one)
            made = await writer.create(MAPS, config_map(f"m{n}"))
            found = await reader.get(MAPS, Key("default", f"m{n}"))
            listed = await reader.list(MAPS, "default")
            assert found == made
            assert made in listed.items
            await writer.delete(MAPS, Key("default", f"m{n}"))
            with pytest.raises(errors.NotFound):
                await reader.get(MAPS, Key("default", f"m{n}"))


async def test_no_update_is_lost_between_servers(tmp_path: Path) -> None:
    async with two_servers(tmp_path) as (one, other):
        await one.create(MAPS, config_map("shared"))

        async with asyncio.TaskGroup() as group:
            for n in range(30):
                client = one if n % 2 else other
                group.create_task(client.patch(MAPS, Key("default", "shared"), {"data": {f"k{n}": "v"}}))

        assert len((await one.get(MAPS, Key("default", "shared")))["data"]) == 30


async def test_a_stale_version_loses_at_either_server(tmp_path: Path) -> None:
    async with two_servers(tmp_path) as (one, other):
        first = await one.create(MAPS, config_map("a"))
        await other.patch(MAPS, Key("default", "a"), {"data": {"b": "c"}})

        with pytest.raises(errors.Conflict):
            await one.update(MAPS, first)


async def test_addresses_and_ports_are_given_out_once(tmp_path: Path) -> None:
    def service(name: str) -> Object:
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}

    async with two_servers(tmp_path) as clients:
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(clients[n % 2].create(SERVICES, service(f"s{n}"))) for n in range(40)]
        found = [task.result()["spec"] for task in made]

    assert len({spec["clusterIP"] for spec in found}) == 40
    assert len({spec["ports"][0]["nodePort"] for spec in found}) == 40


async def test_an_address_of_a_deleted_service_is_free_at_once_everywhere(tmp_path: Path) -> None:
    def service(name: str) -> Object:
        spec = {"clusterIP": "10.96.3.3", "ports": [{"port": 80}]}
        return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}

    async with two_servers(tmp_path) as (one, other):
        for n in range(10):
            maker, remover = (one, other) if n % 2 else (other, one)
            await maker.create(SERVICES, service(f"s{n}"))
            with pytest.raises(errors.Invalid, match="already allocated"):
                await remover.create(SERVICES, service("late"))
            await remover.delete(SERVICES, Key("default", f"s{n}"))
            await remover.list(SERVICES, "default")


async def test_a_quota_is_not_exceeded_between_servers(tmp_path: Path) -> None:
    hard = {"configmaps": "11"}
    quota = {
        "metadata": {"name": "few", "namespace": "default"},
        "spec": {"hard": hard},
        "status": {"hard": hard, "used": {"configmaps": "1"}},
    }

    async def attempt(client: Any, name: str) -> bool:
        try:
            await client.create(MAPS, config_map(name))
        except errors.Forbidden:
            return False
        return True

    async with two_servers(tmp_path) as (one, other):
        await one.create(QUOTAS, quota)
        await one.update(QUOTAS, quota, subresource="status")
        await other.list(QUOTAS, "default")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(attempt(one if n % 2 else other, f"m{n}")) for n in range(30)]

    assert [task.result() for task in tasks].count(True) == 10


async def test_kubernetes_leads_to_all_servers(tmp_path: Path) -> None:
    endpoints = Resource("", "v1", "endpoints", True)

    async with two_servers(tmp_path) as (one, other):
        for _ in range(100):
            found = await one.get(endpoints, Key("default", "kubernetes"))
            if len({s["ports"][0]["port"] for s in found["subsets"]} - {0}) == 2:
                break
            await asyncio.sleep(0.1)
        leases = await other.list(Resource("coordination.k8s.io", "v1", "leases", True), "kube-system")

    assert len(found["subsets"]) == 2
    assert len(leases.items) == 2


async def test_a_watch_sees_what_other_servers_write_in_order(tmp_path: Path) -> None:
    async with two_servers(tmp_path) as (one, other):
        first = await one.create(MAPS, config_map("first"))
        version, seen = first["metadata"]["resourceVersion"], list[str]()

        async def follow() -> None:
            async for event in other.watch(MAPS, "default", resource_version=version):
                seen.append(event.object["metadata"]["name"])
                if len(seen) == 20:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for n in range(20):
                await (one if n % 2 else other).create(MAPS, config_map(f"m{n}"))

    assert seen == [f"m{n}" for n in range(20)]

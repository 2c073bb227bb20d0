"""What a server does by itself, when clocks are set and the store is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.starting import ADMIN, send, started
from timonel.aio.clock import SystemClock, VirtualClock
from timonel.apis.core.configmap import CONFIG_MAP
from timonel.client.transport import Resource
from timonel.objects.meta import format_time
from timonel.server.upkeep import Upkeep
from timonel.server.watchcache import Caches, Kind
from timonel.store.base import Compacted, Unreachable
from timonel.store.memory import MemoryStore

EVENTS = Resource("", "v1", "events", True)
HOUR = 3600.0


class SetClock(SystemClock):
    """The loop's time, whose wall clock can be set."""

    def __init__(self) -> None:
        self.ahead = 1_700_000_000.0

    def now(self) -> float:
        return self.monotonic() + self.ahead


def event(name: str, at: float) -> dict[str, Any]:
    involved = {"kind": "Pod", "namespace": "default", "name": "a"}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": involved,
        "lastTimestamp": format_time(at),
    }


@pytest.mark.looptime(False)
@pytest.mark.parametrize("jump", [5 * HOUR, -5 * HOUR])
async def test_a_clock_that_is_set_expires_no_event(jump: float) -> None:
    clock, store = SetClock(), MemoryStore()
    async with started(store=store, clock=clock) as server:
        client = server.transport_for(ADMIN)
        await client.create(EVENTS, event("kept", clock.now()))
        upkeep = Upkeep(server.core, store)
        endpoint, ends = server.registry.by_qualified["events"], dict[str, tuple[int, float]]()
        await upkeep._expire_once(endpoint, HOUR, ends)
        clock.ahead += jump
        await upkeep._expire_once(endpoint, HOUR, ends)

        assert [e["metadata"]["name"] for e in (await client.list(EVENTS)).items] == ["kept"]


class Damaged(MemoryStore):
    async def check(self) -> str:
        return "row 3 missing from index log_key"


@pytest.mark.looptime(False)
async def test_damage_that_is_found_while_the_server_runs_makes_it_unready_but_not_dead() -> None:
    async with started(store=Damaged()) as server:
        ready, alive = [await send(server, "GET", f"/{probe}?verbose") for probe in ("readyz", "livez")]

    assert (ready.status, alive.status) == (500, 200)
    assert "[-]etcd failed: reason withheld" in ready.body


class Away(MemoryStore):
    """It cannot be reached for the first questions after its history is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost, self.silent = asyncio.Event(), 0

    async def revision(self) -> int:
        if self.silent:
            self.silent -= 1
            raise Unreachable("away")
        return await super().revision()

    async def watch(self, prefix: str, *, after: int) -> Any:
        if not self.lost.is_set():
            await self.lost.wait()
            raise Compacted("history is lost")
        async for batch in super().watch(prefix, after=after):
            yield batch


async def test_caches_are_filled_again_when_history_was_lost() -> None:
    store, clock = Away(), VirtualClock()
    caches = Caches(store, clock)
    cache = caches.add(Kind(CONFIG_MAP))
    ready = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        following = group.create_task(caches.follow(ready.set))
        await ready.wait()
        await caches.ensure(cache)
        value = cache.kind.encode({"metadata": {"name": "a", "namespace": "default"}})
        made = await store.create("/configmaps/default/a", value)
        store.silent = 3
        store.lost.set()
        for _ in range(5):
            await clock.advance(1.0)
        later = await store.create("/configmaps/default/b", value)
        await caches.reached(later.modified)
        following.cancel()

    assert sorted(cache.entries) == ["/configmaps/default/a", "/configmaps/default/b"]
    assert caches.revision >= made.modified

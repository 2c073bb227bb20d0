from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from timonel.aio.clock import SystemClock
from timonel.client.fake import MemoryTransport
from timonel.client.leases import LEASES, LeaderElection, Lost
from timonel.client.transport import Resource, Unreachable, WatchEvent
from timonel.machinery.errors import Expired
from timonel.objects.meta import Key

LEASE = Key("kube-system", "scheduler")


def candidate(cluster: MemoryTransport, name: str) -> LeaderElection:
    return LeaderElection(cluster, SystemClock(), lease=LEASE, identity=name, jitter=lambda: 0.0)


async def test_one_leads_and_the_next_follows_when_it_is_done() -> None:
    cluster, order = MemoryTransport(SystemClock()), []  # type: MemoryTransport, list[str]

    async def work(name: str) -> None:
        order.append(f"{name} starts")
        await asyncio.sleep(60)
        order.append(f"{name} ends")

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(candidate(cluster, name).lead(lambda name=name: work(name)))  # type: ignore[misc]

    assert order == ["a starts", "a ends", "b starts", "b ends"]


async def test_a_leader_that_cannot_renew_stops() -> None:
    cluster = MemoryTransport(SystemClock())

    async def work() -> None:
        def fault(verb: str, resource: Resource, key: Key) -> None:
            raise Unreachable("the wire is cut")

        cluster.fault = fault
        await asyncio.sleep(3600)

    with pytest.raises(ExceptionGroup) as caught:
        await candidate(cluster, "a").lead(work)
    assert caught.group_contains(Lost)


async def test_who_waits_takes_over_as_soon_as_the_lease_has_lapsed_and_asks_nothing_before() -> None:
    cluster, clock = MemoryTransport(SystemClock()), SystemClock()
    times: list[float] = []

    async def for_ever() -> None:
        await asyncio.Event().wait()

    async def note() -> None:
        times.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        leading = group.create_task(candidate(cluster, "a").lead(for_ever))
        await asyncio.sleep(1)
        waiting: list[bool] = []
        group.create_task(candidate(cluster, "b").lead(note, lambda: waiting.append(True)))
        await asyncio.sleep(60)
        asked = [request for request in cluster.requests if request[0] == "get"]
        assert waiting == [True]
        assert len(asked) <= 1 + 31 + 1  # the renewals of the leader, and one look of the other

        def dead(verb: str, resource: Resource, key: Key) -> None:
            if asyncio.current_task() in (leading, *doomed):
                raise Unreachable("killed")

        doomed = [t for t in asyncio.all_tasks() if "_renew" in repr(t)]
        cluster.fault = dead  # a process that was killed neither renews nor gives anything back
        killed = clock.monotonic()
        for task in doomed:
            task.cancel()
        await asyncio.sleep(20)
        leading.cancel()

    assert 12.0 <= times[0] - killed <= 15.5


class Younger(MemoryTransport):
    """A server that has begun lately: it cannot tell what came after a version that is older than itself."""

    begun = 0

    async def watch(
        self, *arguments: Any, resource_version: str = "", **options: Any
    ) -> AsyncIterator[WatchEvent]:
        if int(resource_version or 0) < self.begun:
            raise Expired("too old resource version")
        async for event in super().watch(*arguments, resource_version=resource_version, **options):
            yield event


@pytest.mark.parametrize("begun_later", [False, True])
async def test_a_lease_that_is_given_back_is_taken_at_once(begun_later: bool) -> None:
    cluster, clock = Younger(SystemClock()), SystemClock()
    times: list[float] = []

    async def brief() -> None:
        await asyncio.sleep(1.5)
        times.append(clock.monotonic())

    async def note() -> None:
        times.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        group.create_task(candidate(cluster, "a").lead(brief))
        await asyncio.sleep(1)
        if begun_later:
            other = {"metadata": {"name": "other", "namespace": "kube-system"}}
            made = await cluster.create(
                LEASES, {**other, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            )
            cluster.begun = int(made["metadata"]["resourceVersion"])
        group.create_task(candidate(cluster, "b").lead(note))

    assert times[1] - times[0] < 0.5

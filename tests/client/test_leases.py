from __future__ import annotations

import asyncio

import pytest

from timonel.aio.clock import SystemClock
from timonel.client.fake import MemoryTransport
from timonel.client.leases import LeaderElection, Lost
from timonel.client.transport import Resource, Unreachable
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

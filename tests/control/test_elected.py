"""Two servers on one store: one of them runs the controllers, and the other one goes on when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.control.test_runtime import INDEX, MAKER, PODS, SETS, replica_set
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.client.events import EventRecorder
from timonel.client.fake import MemoryTransport
from timonel.client.leases import LeaderElection
from timonel.client.transport import Resource, Unreachable
from timonel.control.elected import Elected
from timonel.control.runtime import Controllers
from timonel.objects.meta import Key

LEASE = Key("kube-system", "kube-controller-manager")


class Wire:
    """One server's way to the common store: it can be cut."""

    def __init__(self, store: MemoryTransport) -> None:
        self.store, self.cut = store, False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any, **options: Any) -> Any:
            if self.cut:
                raise Unreachable("the wire is cut")
            return method(*args, **options)

        return call


def server(name: str, wire: Any) -> Elected[Controllers]:
    def made() -> Controllers:
        return Controllers([MAKER], transport_for=lambda user: wire, index=INDEX, clock=SystemClock())

    recorder = EventRecorder(wire, SystemClock(), "kube-controller-manager")
    election = LeaderElection(
        wire,
        SystemClock(),
        lease=LEASE,
        identity=name,
        jitter=lambda: 0.0,
        told=lambda lease, what: recorder.record(lease, "Normal", "LeaderElection", what),
    )
    return Elected(name, made, election, recorder)


async def settled(count: Callable[[], int], wanted: int) -> int:
    for _ in range(60):
        if count() < wanted:
            await asyncio.sleep(2)
    await asyncio.sleep(30)
    return count()


async def test_another_server_goes_on_and_nothing_is_done_twice() -> None:
    store = MemoryTransport(SystemClock())
    first, second = Wire(store), Wire(store)
    a, b = server("a", first), server("b", second)

    def pods() -> int:
        return len(store._objects.get(PODS, {}))

    async with running(a), running(b):
        await store.create(SETS, replica_set("web", 7))
        assert await settled(pods, 7) == 7
        assert a.current is not None
        assert b.current is None

        first.cut = True
        await store.create(SETS, replica_set("more", 5))
        assert await settled(pods, 12) == 12
        assert a.current is None
        assert b.current is not None

        first.cut = False
        await asyncio.sleep(60)
        assert (a.current is None, b.current is None) == (True, False)  # it stands by, and takes nothing back
        await store.create(SETS, replica_set("most", 3))
        assert await settled(pods, 15) == 15
        told = (await store.list(Resource("", "v1", "events", True), "kube-system")).items

    assert {(e["involvedObject"]["kind"], e["reason"], e["message"]) for e in told} == {
        ("Lease", "LeaderElection", "a became leader"),
        ("Lease", "LeaderElection", "b became leader"),
    }  # who lost its wire cannot tell that it stopped

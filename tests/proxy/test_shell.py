from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.proxy.test_model import endpoint, service, slices
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.netfilter.elements import Changes, Spot, Value, packed
from timonel.netfilter.kernel import NftError
from timonel.objects.meta import Object, key_of
from timonel.proxy.ruleset import Network
from timonel.proxy.shell import Proxy


class FakeInformer:
    def __init__(self) -> None:
        self.objects: dict[object, Object] = {}
        self.synced = asyncio.Event()
        self.synced.set()
        self.handlers: list[object] = []

    def get(self, key: object) -> Object | None:
        return self.objects.get(key)

    def add_handler(self, handler: object) -> None:
        self.handlers.append(handler)
        for obj in self.objects.values():
            handler(None, obj)  # type: ignore[operator]

    def put(self, obj: Object) -> None:
        old = self.objects.get(key_of(obj))
        self.objects[key_of(obj)] = obj
        for handler in self.handlers:
            handler(old, obj)  # type: ignore[operator]

    def remove(self, obj: Object) -> None:
        old = self.objects.pop(key_of(obj))
        for handler in self.handlers:
            handler(old, None)  # type: ignore[operator]


class FakeFactory:
    def __init__(self) -> None:
        self.services, self.slices, self.nodes = FakeInformer(), FakeInformer(), FakeInformer()

    def get(self, resource: str) -> FakeInformer:
        return self.services if resource == "services" else self.slices

    def metadata(self, resource: str) -> FakeInformer:
        return self.nodes


class Kernel:
    """Stands in for nftables: takes transactions slowly, or refuses them."""

    def __init__(self, *, refuse: int = 0) -> None:
        self.texts: list[str] = []
        self.transactions: list[Changes] = []
        self.held: dict[Spot, Value] = {}
        self.looked = 0
        self.refuse = refuse

    async def rules(self, text: str) -> None:
        if self.refuse:
            self.refuse -= 1
            raise NftError("busy")
        self.texts.append(text)
        if text.startswith("table ip"):
            self.held.clear()

    async def elements(self, table: str, changes: Changes) -> None:
        await asyncio.sleep(0.01)
        self.transactions.append(changes)
        for spot in changes.delete:
            del self.held[spot]
        self.held.update(changes.add)

    async def blocking(self, work: Callable[[], int]) -> int:
        self.looked += 1
        return 0

    def watch(self, table: str, gone: Callable[[], None]) -> None:
        self.remove = gone

    def close(self) -> None:
        self.closed = True

    def leads_to(self, ip: str) -> bool:
        return any(
            name == "endpoints" and value[:4] == packed(ip) for (_, name, _), value in self.held.items()
        )


def proxy(factory: FakeFactory, kernel: Kernel) -> Proxy:
    return Proxy(
        informers=factory,  # type: ignore[arg-type]
        network=Network("timonel", "10.244.0.0/16"),
        node="n1",
        clock=SystemClock(),
        kernel=kernel,
    )


async def test_a_burst_of_changes_is_few_transactions() -> None:
    factory, kernel = FakeFactory(), Kernel()
    factory.services.put(service())
    it = proxy(factory, kernel)

    async with running(it):
        for n in range(1, 50):
            (slice_,) = slices(endpoint(f"10.0.0.{n}", ready=True))
            factory.slices.put(slice_)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)

    assert len(kernel.transactions) < 15
    assert kernel.leads_to("10.0.0.49")
    assert not kernel.leads_to("10.0.0.48")


async def test_a_refused_transaction_starts_over_with_the_whole_table() -> None:
    factory, kernel = FakeFactory(), Kernel(refuse=2)
    factory.services.put(service())

    it = proxy(factory, kernel)
    async with running(it):
        assert it.healthy

    assert kernel.texts[0].startswith("table ip timonel {}")
    assert {spot[1] for spot in kernel.held} == {"no-endpoint-services", "no-endpoint-nodeports"}


async def test_a_change_of_nothing_that_matters_is_no_transaction() -> None:
    factory, kernel = FakeFactory(), Kernel()
    factory.services.put(service())

    async with running(proxy(factory, kernel)):
        before = len(kernel.transactions)
        factory.services.put({**service(), "status": {}})
        await asyncio.sleep(1)

    assert len(kernel.transactions) == before


async def test_flows_are_looked_through_only_where_udp_ports_have_moved() -> None:
    factory, kernel = FakeFactory(), Kernel()
    factory.services.put(service(ports=[{"name": "http", "port": 80, "protocol": "TCP"}]))

    async with running(proxy(factory, kernel)):
        await asyncio.sleep(1)
        assert kernel.looked == 0
        factory.services.put(service(ports=[{"name": "dns", "port": 53, "protocol": "UDP"}]))
        await asyncio.sleep(1)

    assert kernel.looked == 1


async def test_a_zone_that_the_node_gets_later_chooses_other_endpoints() -> None:
    factory, kernel = FakeFactory(), Kernel()
    factory.services.put(service())
    near = {**endpoint("10.0.0.1", "n2"), "hints": {"forZones": [{"name": "a"}]}}
    far = {**endpoint("10.0.0.2", "n2"), "hints": {"forZones": [{"name": "b"}]}}
    (slice_,) = slices(near, far)
    factory.slices.put(slice_)

    async with running(proxy(factory, kernel)):
        assert kernel.leads_to("10.0.0.2")
        labels = {"topology.kubernetes.io/zone": "a"}
        factory.nodes.put({"metadata": {"name": "n1", "namespace": "", "labels": labels}})
        await asyncio.sleep(1)

    assert kernel.leads_to("10.0.0.1")
    assert not kernel.leads_to("10.0.0.2")


async def test_a_table_that_somebody_removed_is_made_anew() -> None:
    factory, kernel = FakeFactory(), Kernel()
    factory.services.put(service())

    async with running(proxy(factory, kernel)):
        before = dict(kernel.held)
        kernel.held.clear()
        kernel.remove()
        await asyncio.sleep(1)

    assert kernel.held == before
    assert len([text for text in kernel.texts if text.startswith("table ip")]) == 2

from __future__ import annotations

import asyncio

from tests.proxy.test_model import endpoint, service, slices
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.objects.meta import Object, key_of
from timonel.proxy.apply import NftError
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


class FakeFactory:
    def __init__(self) -> None:
        self.services, self.slices = FakeInformer(), FakeInformer()

    def get(self, resource: str) -> FakeInformer:
        return self.services if resource == "services" else self.slices


class Kernel:
    def __init__(self, *, refuse: int = 0) -> None:
        self.transactions: list[str] = []
        self.refuse = refuse

    async def __call__(self, text: str) -> None:
        await asyncio.sleep(0.01)
        if self.refuse:
            self.refuse -= 1
            raise NftError("busy")
        self.transactions.append(text)


def proxy(factory: FakeFactory, kernel: Kernel) -> Proxy:
    return Proxy(
        informers=factory,  # type: ignore[arg-type]
        network=Network("timonel", "10.244.0.0/16"),
        node="n1",
        clock=SystemClock(),
        apply=kernel,
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
    assert "10.0.0.49" in kernel.transactions[-1]


async def test_a_refused_transaction_starts_over_with_the_whole_table() -> None:
    factory, kernel = FakeFactory(), Kernel(refuse=2)
    factory.services.put(service())

    async with running(proxy(factory, kernel)):
        pass

    assert kernel.transactions[0].startswith("table ip timonel {}")
    assert "no-endpoint-services" in kernel.transactions[-1]


async def test_a_change_of_nothing_that_matters_is_no_transaction() -> None:
    factory, kernel = FakeFactory(), Kernel()
    factory.services.put(service())

    async with running(proxy(factory, kernel)):
        before = len(kernel.transactions)
        factory.services.put({**service(), "status": {}})
        await asyncio.sleep(1)

    assert len(kernel.transactions) == before

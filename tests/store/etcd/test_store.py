"""The contract, against a real etcd; and what only a store that others share has to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from tests.store.contract import StoreContract
from tests.store.etcd.servers import EtcdServer, etcd
from timonel.aio.clock import SystemClock
from timonel.store.base import Event, Store, StoreError, Unreachable
from timonel.store.etcd.connection import Settings
from timonel.store.etcd.store import EtcdStore, tells_progress

pytestmark = pytest.mark.looptime(False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with etcd(tmp_path) as running:
        yield running


async def opened(server: EtcdServer, **settings: str) -> EtcdStore:
    return await EtcdStore.open(Settings((server.url,), **settings), SystemClock())  # type: ignore[arg-type]


class TestEtcdStore(StoreContract):
    @pytest.fixture
    async def store(self, server: EtcdServer) -> AsyncIterator[Store]:
        store = await opened(server)
        yield store
        await store.close()

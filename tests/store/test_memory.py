from __future__ import annotations

import pytest

from tests.store.contract import StoreContract
from timonel.store.base import Store
from timonel.store.memory import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

from __future__ import annotations

import pytest

from tests.client.contract import TransportContract
from timonel.aio.clock import SystemClock
from timonel.client.fake import MemoryTransport


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def transport(self) -> MemoryTransport:
        return MemoryTransport(SystemClock())

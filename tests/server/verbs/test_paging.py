"""Pages of a list: what follows after one is counted, not read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.starting import send, started
from timonel.server.verbs import read
from timonel.store.base import Page
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

SECRETS = "/api/v1/namespaces/default/secrets"


class Watched(MemoryStore):
    """Remembers how many Secrets were read at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []

    async def list(self, prefix: str, **options: Any) -> Page:
        page = await super().list(prefix, **options)
        if "secrets/default" in prefix:
            self.read.append(len(page.records))
        return page


@pytest.mark.parametrize("at_once", [1, 2, 100])
async def test_a_page_of_the_past_is_all_that_is_read_of_it(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "AT_ONCE", at_once)
    store = Watched()
    async with started(store=store, encryption_key=b"k" * 32) as server:
        for number in range(8):
            made = {"metadata": {"name": f"n{number}"}}
            assert (await send(server, "POST", SECRETS, made)).status == 201
        names, left, token = [], [], ""
        while True:
            page = (await send(server, "GET", f"{SECRETS}?limit=3&continue={token}")).body
            names += [item["metadata"]["name"] for item in page["items"]]
            left.append(page["metadata"].get("remainingItemCount"))
            token = page["metadata"].get("continue", "")
            if not token:
                break
        chosen = (await send(server, "GET", f"{SECRETS}?limit=3&labelSelector=a%3Db")).body["items"]

        assert names == [f"n{number}" for number in range(8)]
        assert left == [5, 2, None]
        assert store.read == [3, 2]
        assert chosen == []

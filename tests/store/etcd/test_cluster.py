"""Three members of etcd, of which one after the other is killed: writes go on, and the watch is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.store.etcd.servers import cluster_of_three
from timonel.aio.clock import SystemClock
from timonel.store.base import KeyExists, Unreachable
from timonel.store.etcd.connection import Settings
from timonel.store.etcd.store import EtcdStore

pytestmark = pytest.mark.looptime(False)


async def test_members_that_die_one_after_the_other(tmp_path: Path) -> None:
    with cluster_of_three(tmp_path) as members:
        store = await EtcdStore.open(Settings(tuple(m.url for m in members)), SystemClock())
        written: dict[str, int] = {}
        seen: list[tuple[str, int]] = []
        longest = 0.0

        async def follow() -> None:
            async for batch in store.watch("/r/", after=0):
                seen.extend((e.key, e.revision) for e in batch)

        async def write(number: int) -> None:
            key = f"/r/{number:04}"
            while True:
                try:
                    written[key] = (await store.create(key, b"1")).modified
                except Unreachable:
                    await asyncio.sleep(0.05)
                except KeyExists:  # by the attempt that got no answer
                    record = await store.get(key)
                    assert record is not None
                    written[key] = record.modified
                    return
                else:
                    return

        async with asyncio.TaskGroup() as group:
            follower = group.create_task(follow())
            loop = asyncio.get_running_loop()
            for number in range(150):
                if number in (40, 90):
                    victim = members[0] if number == 40 else members[1]
                    victim.kill()
                if number in (70, 120):
                    victim.start()
                begun = loop.time()
                await write(number)
                longest = max(longest, loop.time() - begun)
            for _ in range(200):
                if len(seen) == 150:
                    break
                await asyncio.sleep(0.1)
            follower.cancel()
        listed = (await store.list("/r/")).records
        await store.close()

    assert {r.key: r.modified for r in listed} == written
    assert seen == sorted(written.items(), key=lambda item: item[1])
    assert longest < 12

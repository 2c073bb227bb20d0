from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.contract import StoreContract
from timonel.store.base import Compacted, Corrupt, Store, Unreachable
from timonel.store.sqlite import SqliteStore

pytestmark = pytest.mark.looptime(False)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = await SqliteStore.open(tmp_path / "state.db")
        yield store
        await store.close()

    async def test_what_was_written_is_there_after_opening_again(self, tmp_path: Path) -> None:
        first = await SqliteStore.open(tmp_path / "again.db")
        a = await first.create("/r/a", b"1")
        await first.close()

        second = await SqliteStore.open(tmp_path / "again.db")
        found, revision = await second.get("/r/a"), await second.revision()
        await second.close()

        assert (found, revision) == (a, a.modified)

    async def test_the_revision_survives_deleting_and_compacting_everything(self, tmp_path: Path) -> None:
        first = await SqliteStore.open(tmp_path / "again.db")
        gone = await first.delete("/r/a", expected=(await first.create("/r/a", b"1")).modified)
        await first.compact(gone.modified)
        await first.close()

        second = await SqliteStore.open(tmp_path / "again.db")
        revision = await second.revision()
        with pytest.raises(Compacted):
            await anext(second.watch("/", after=gone.modified - 1))
        await second.close()

        assert revision == gone.modified

    async def test_a_file_that_is_no_database_is_corrupt(self, tmp_path: Path) -> None:
        (tmp_path / "bad.db").write_bytes(b"no database" * 1000)

        with pytest.raises(Corrupt):
            await SqliteStore.open(tmp_path / "bad.db")

    async def test_a_full_disk_refuses_writes_until_there_is_space(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "full.db")
        await store.create("/r/a", b"1")
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(Unreachable, match="disk is full"):
            await store.create("/r/big", b"x" * 1_000_000)
        store._connection.execute("PRAGMA max_page_count = 1000000")
        big = await store.create("/r/big", b"x" * 1_000_000)
        found = await store.get("/r/big")
        await store.close()

        assert found == big

    async def test_the_file_is_private(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "private.db")
        await store.close()

        assert (tmp_path / "private.db").stat().st_mode & 0o077 == 0


WRITER = """
import asyncio, sys
from pathlib import Path
from timonel.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))

    async def write(worker):
        for n in range(100000):
            await store.create(f"/r/{worker}-{n}", b"v")
            print(f"/r/{worker}-{n}", flush=True)

    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(write(worker))

asyncio.run(main())
"""


def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().decode().strip() for _ in range(500)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [
        line.decode().strip()
        for line in process.stdout.read().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]
    process.stdout.close()
    process.wait()

    async def keys() -> set[str]:
        store = await SqliteStore.open(path)
        kept = {r.key for r in (await store.list("/r/")).records}
        await store.close()
        return kept

    assert set(acknowledged) <= asyncio.run(keys())


async def test_concurrent_writes_share_transactions(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "group.db")
    batches: list[int] = []
    commit = store._commit

    def counted(writes):  # type: ignore[no-untyped-def]
        batches.append(len(writes))
        return commit(writes)

    store._commit = counted  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as group:
        for n in range(64):
            group.create_task(store.create(f"/r/{n}", b"1"))
    await store.close()

    assert sum(batches) == 64
    assert len(batches) <= 3

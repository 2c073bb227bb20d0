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
from timonel.server import layout
from timonel.store import sqlite
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

    async def test_keys_of_an_older_database_are_moved_once(self, tmp_path: Path) -> None:
        path = tmp_path / "old.db"
        first = await SqliteStore.open(path)
        a = await first.create("/services/default/a", b"1")
        await first.create("/deployments.apps/default/d", b"1")
        first._connection.execute(
            "UPDATE meta SET value = 0 WHERE name = 'layout'"
        )  # as older versions left it
        await first.close()
        for _ in range(2):
            store = await SqliteStore.open(path, moved=layout.moved)
            found = [r.key for r in (await store.list("/")).records]
            replayed = await anext(store.watch("/services/", after=0))
            await store.close()

        assert found == ["/deployments/default/d", "/services/specs/default/a"]
        assert [(e.key, e.revision) for e in replayed] == [("/services/specs/default/a", a.modified)]

    @pytest.mark.parametrize("large", [False, True])
    async def test_a_damaged_page_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
    ) -> None:
        path = tmp_path / "damaged.db"
        store = await SqliteStore.open(path)
        for n in range(300):
            await store.create(f"/r/{n}", b"x" * 2000)
        await store.close()
        content = bytearray(path.read_bytes())
        content[40 * 4096 : 41 * 4096] = b"\x55" * 4096
        path.write_bytes(content)
        if large:  # served at once, and looked through meanwhile
            monkeypatch.setattr(sqlite, "CHECKED_AT_START", 0)
            store = await SqliteStore.open(path)
            problem = await store.check()
            with pytest.raises(Corrupt, match="the database file is damaged"):
                await store.create("/r/new", b"1")
            await store.close()
            assert problem
        else:
            with pytest.raises(Corrupt, match="the database file is damaged"):
                await SqliteStore.open(path)

    async def test_the_file_becomes_shorter_when_much_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "SPARE_PAGES", 20)
        path = tmp_path / "shrinks.db"
        store = await SqliteStore.open(path)
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(store.create(f"/r/{n}", b"x" * 20_000)) for n in range(300)]
        async with asyncio.TaskGroup() as group:
            for task in made:
                group.create_task(store.delete(task.result().key, expected=task.result().modified))
        await store.compact(await store.revision())
        await store.close()

        assert path.stat().st_size < 1_000_000

    async def test_the_log_stays_short_under_constant_load(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "WAL_LIMIT", 300_000)
        monkeypatch.setattr(sqlite, "CHECKPOINT_EVERY", 100)
        path = tmp_path / "busy.db"
        store = await SqliteStore.open(path)
        longest = 0

        async def change(key: str) -> None:
            nonlocal longest
            record = await store.create(key, b"x" * 3000)
            for _ in range(60):
                record = await store.update(key, b"x" * 3000, expected=record.modified)
                longest = max(longest, path.with_name("busy.db-wal").stat().st_size)

        async with asyncio.TaskGroup() as group:
            for n in range(32):
                group.create_task(change(f"/r/{n}"))
        await store.close()

        assert longest < 6_000_000  # 18 MB are written

    async def test_writers_go_on_while_history_is_forgotten(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "busy.db")

        async def change(key: str) -> None:
            record = await store.create(key, b"x" * 1000)
            for _ in range(30):
                record = await store.update(key, b"x" * 1000, expected=record.modified)

        async with asyncio.TaskGroup() as group:
            for n in range(200):
                group.create_task(change(f"/r/{n}"))
        between = 0
        async with asyncio.TaskGroup() as group:
            compaction = group.create_task(store.compact(await store.revision()))
            while not compaction.done():
                await store.create(f"/new/{between}", b"y")
                between += 1
        await store.close()

        assert between >= 3  # it is done in parts of 1,000 revisions


class TestSqliteStoreWithMany(StoreContract):
    """Lists as they are made where there is much to list."""

    @pytest.fixture
    async def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
        monkeypatch.setattr(sqlite, "MANY", 0)
        store = await SqliteStore.open(tmp_path / "state.db")
        yield store
        await store.close()


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

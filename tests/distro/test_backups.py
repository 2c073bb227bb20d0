"""A backup holds what was stored at one revision, whole or not at all, for its owner's eyes only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.distro import backups
from timonel.distro.backups import Header, NotABackup, Writer
from timonel.store import sqlitefile
from timonel.store.base import Compacted, Record
from timonel.store.sqlite import SqliteStore

pytestmark = pytest.mark.looptime(False)

RECORDS = st.builds(
    Record, st.text(max_size=20), st.binary(max_size=300), st.integers(0, 1 << 60), st.integers(0, 1 << 60)
)


def header(count: int = 0) -> Header:
    return Header(cluster="a", created=1.0, revision=7, count=count, root="/registry", store="sqlite")


def written(path: Path, records: list[Record]) -> Path:
    writer = Writer(path, header(len(records)))
    for record in records:
        writer.add(record)
    writer.finish(replace=True)
    return path


@given(records=st.lists(RECORDS, max_size=20))
def test_what_was_saved_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record]
) -> None:
    path = written(tmp_path_factory.mktemp("backup") / "a", records)

    assert backups.check(path) == header(len(records))
    assert list(backups.read_records(path)) == records


def test_records_larger_than_a_block_are_whole(tmp_path: Path) -> None:
    import random

    records = [Record(f"/r/{n}", random.Random(n).randbytes(700_000), n + 1, n + 1) for n in range(5)]

    assert list(backups.read_records(written(tmp_path / "a", records))) == records


@given(at=st.integers(0), size=st.integers(0))
def test_a_damaged_backup_is_refused(tmp_path_factory: pytest.TempPathFactory, at: int, size: int) -> None:
    path = written(tmp_path_factory.mktemp("backup") / "a", [Record("/r/a", b"value", 1, 1)])
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= 1
    for content in (bytes(damaged), whole[: size % len(whole)], whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(NotABackup):
            backups.check(path)


def test_it_is_private_and_replaces_nothing_unasked(tmp_path: Path) -> None:
    path = written(tmp_path / "a", [])
    writer = Writer(path, header())
    with pytest.raises(FileExistsError):
        writer.finish()
    writer.abandon()

    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


async def test_a_snapshot_beside_writers_is_of_one_revision(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    stop = False

    async def write_pairs() -> None:
        a, b = await store.create("/r/a", b"0"), await store.create("/r/b", b"0")
        n = 0
        while not stop:
            n += 1
            a = await store.update("/r/a", b"%d" % n, expected=a.modified)
            b = await store.update("/r/b", b"%d" % n, expected=b.modified)

    def saved() -> tuple[int, list[Record]]:
        with sqlitefile.snapshot(tmp_path / "state.db") as found:
            return found.revision, list(found.records)

    async with asyncio.TaskGroup() as group:
        group.create_task(write_pairs())
        await asyncio.sleep(0.05)
        for _ in range(20):
            revision, (a, b) = await asyncio.to_thread(saved)
            assert int(a.value) - int(b.value) in (0, 1)  # b is written after a
            assert max(a.modified, b.modified) == revision
        stop = True
    await store.close()


async def test_what_is_restored_begins_a_new_history(tmp_path: Path) -> None:
    sqlitefile.make(tmp_path / "state.db", [Record("/r/a", b"1", 5, 9)], revision=1000)
    store = await SqliteStore.open(tmp_path / "state.db")
    found = await store.list("/")
    with pytest.raises(Compacted):
        await anext(store.watch("/", after=999))
    with pytest.raises(Compacted):
        await store.list("/", revision=9)
    updated = await store.update("/r/a", b"2", expected=9)
    await store.close()

    assert (found.records, found.revision) == ([Record("/r/a", b"1", 5, 9)], 1000)
    assert (updated.created, updated.modified) == (5, 1001)

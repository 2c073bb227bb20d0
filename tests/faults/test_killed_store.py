"""A store killed at random moments while it writes, forgets and gives space back: whole, and with all it promised."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.servers import wait_for
from timonel.store.base import Record
from timonel.store.sqlite import SqliteStore

KEYS = 20
WRITER = """
import asyncio, sys
from pathlib import Path
from timonel.store.sqlite import SqliteStore

async def write(store, key):
    number = 0
    while True:
        record = await store.get(key)
        value = b"%d " % number + key.encode() * (number % 97 * 10)
        if record is None:
            record = await store.create(key, value)
        elif number % 5:
            record = await store.update(key, value, expected=record.modified)
        else:
            record = await store.delete(key, expected=record.modified)
            value = b""
        sys.stdout.write(f'["{key}", {number}, {record.modified}, {len(value)}]\\n')
        sys.stdout.flush()
        number += 1

async def forget(store):
    while True:
        await store.compact(await store.revision() - 50)
        await asyncio.sleep(0.005)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        for n in range(int(sys.argv[2])):
            group.create_task(write(store, f"/maps/{n}"))
        group.create_task(forget(store))

asyncio.run(main())
"""


@dataclass(frozen=True)
class Told:
    """The last thing that was said of a key: its how manieth write it was, the revision, the length (0: deleted)."""

    number: int
    revision: int
    length: int

    def allows(self, record: Record | None) -> bool:
        """The next write may have happened too without a word; it is a delete where its number says so."""
        if record is None:
            return self.length == 0 or (self.number + 1) % 5 == 0
        if record.modified == self.revision:
            return len(record.value) == self.length > 0
        return record.modified > self.revision


def write_and_be_killed(file: Path, seconds: float) -> dict[str, Told]:
    said = file.with_name("said")
    with said.open("wb") as out:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(KEYS)], stdout=out)
        wait_for(said.read_bytes, "the first write")
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(seconds)
        writer.kill()
        writer.wait()
    lines = said.read_text().rpartition("\n")[0].splitlines()
    return {key: Told(*rest) for key, *rest in map(json.loads, lines)}


@pytest.mark.looptime(False)
async def test_a_killed_store_is_whole(tmp_path: Path) -> None:
    chance, file = random.Random(7), tmp_path / "state.db"
    newest = 0
    for _ in range(4):
        told = await asyncio.to_thread(write_and_be_killed, file, chance.uniform(0.1, 0.8))
        assert len(told) == KEYS
        newest = max(newest, *(last.revision for last in told.values()))

        store = await SqliteStore.open(file)
        found = {r.key: r for r in (await store.list("/maps/")).records}
        for key, last in told.items():
            assert last.allows(found.get(key)), (key, last, found.get(key))
        assert await store.revision() >= newest
        await store.close()
        with closing(sqlite3.connect(file)) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

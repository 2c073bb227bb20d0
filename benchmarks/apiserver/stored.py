"""Much that is stored: how soon the server is there, what it keeps resident, what it computes when nothing happens."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from benchmarks import pods
from benchmarks.apiserver.bare import Bare, serving
from benchmarks.apiserver.row import Result, Row, Scale
from benchmarks.apiserver.traffic import ACCOUNT, SERVICE_ACCOUNTS, create
from benchmarks.clusters import (
    CONTROL_PLANE,
    Running,
    busy_seconds,
    delete,
    folder,
    fresh,
    idle_wait,
    resident,
    up,
)
from benchmarks.figure import Figure
from timonel.store.sqlite import SqliteStore

MANY, FEW = 150_000, 5_000
BATCH = 1_000
SAMPLE = (
    "SELECT log.key, log.value FROM log JOIN current ON log.revision = current.revision WHERE log.key LIKE ?"
)


def multiplied(key: str, value: bytes, number: int) -> tuple[str, bytes]:
    """The stored pod once more, under another name and uid."""
    tree = json.loads(value)
    name, uid = tree["metadata"]["name"], tree["metadata"]["uid"]
    text = value.replace(f'"name":"{name}"'.encode(), b'"name":"many-%d"' % number, 1)
    text = text.replace(uid.encode(), f"{number:08x}{uid[8:]}".encode())
    return key.removesuffix(name) + f"many-{number}", text


async def _fill(database: Path, count: int) -> None:
    """What so many requests would have left: the same records, written by the store itself."""
    with sqlite3.connect(database) as connection:
        key, value = connection.execute(SAMPLE, ("%/pods/%",)).fetchone()
    store = await SqliteStore.open(database)
    try:
        for start in range(0, count, BATCH):
            async with asyncio.TaskGroup() as group:
                for number in range(start, start + BATCH):
                    group.create_task(store.create(*multiplied(key, value, number)))
    finally:
        await store.close()


def many(scale: Scale) -> Sequence[Result]:
    count = scale.of(MANY)
    with folder() as data_dir:
        try:
            with up(data_dir, components=("api",)) as cluster:
                create(cluster, SERVICE_ACCOUNTS, ACCOUNT)
                pods.create(cluster, 1)
            asyncio.run(_fill(cluster.root / "state.db", count))
            with up(data_dir, components=("api",)) as cluster:
                idle_wait(2.0)
                memory = resident(cluster.server)
                pki, database = cluster.root / "pki", cluster.root / "state.db"
                bare = Bare(str(pki / "server.crt"), str(pki / "server.key"), database=str(database))
                with serving(bare) as least:
                    bare_memory = resident(least.pid)
            size = (cluster.root / "state.db").stat().st_size / 1e6
        finally:
            delete(data_dir)
    share = count / MANY
    command = f"timonel up --components api, with {count:,} pods in its database"
    note = f"a database of {size:,.0f} MB; {memory * 1000 / count:.1f} kB for each pod"
    start = Figure(f"{count:,} pods stored: start", 8.0 * max(share, 0.25), "s", cluster.seconds)
    kept = Figure(f"{count:,} pods stored: resident", 1_200 if share == 1 else 200, "MB", memory)
    return [
        Result("stored", [start], bare=least.seconds, resident=memory, command=command, note=note),
        Result("stored", [kept], bare=bare_memory, resident=memory, command=command),
    ]


def idle(scale: Scale) -> Sequence[Result]:
    with fresh(components=CONTROL_PLANE) as cluster:
        idle_wait(2.0)
        before = resident(cluster.server)
        pods.create(cluster, FEW)
        idle_wait(10.0)
        memory, share = _at_rest(cluster, scale.seconds * 5)
        pki = cluster.root / "pki"
        with serving(Bare(str(pki / "server.crt"), str(pki / "server.key"))) as least:
            bare_memory = resident(least.pid)
    each = (memory - before) * 1000 / FEW
    command = f"timonel up --components api,controllers,scheduler; {FEW:,} x POST a pod"
    kept = Figure(f"idle with {FEW:,} pods: resident", 250, "MB", memory)
    busy = Figure(f"idle with {FEW:,} pods: processors", 0.2, "%", share * 100)
    note = f"with controllers and scheduler; {each:.1f} kB for each pod"
    return [
        Result("idle", [kept], bare=bare_memory, resident=memory, command=command, note=note),
        Result("idle", [busy], resident=memory, note=f"of all processors; {scale.seconds * 5:.0f} s"),
    ]


def _at_rest(cluster: Running, seconds: float) -> tuple[float, float]:
    """MB, and the share of the machine."""
    before = busy_seconds(cluster.server)
    idle_wait(seconds)
    share = (busy_seconds(cluster.server) - before) / seconds / (os.cpu_count() or 1)
    return resident(cluster.server), share


ROWS = (Row("stored", many), Row("idle", idle))

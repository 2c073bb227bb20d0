"""A server, or its etcd, killed again and again under load, while clients write, read and watch; then the verdict.

`python -m tests.faults.torture --help` (scripts/torture) for long runs; test_torture.py for a short one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.histories import DELETED, Commit, Read, Watched, Write, problems
from tests.faults.servers import Connection, ServerProcess
from tests.store.etcd.servers import etcd
from timonel.aio.clock import SystemClock
from timonel.distro import config as settings
from timonel.distro.config import Paths
from timonel.distro.stores import opened_store

MAPS = "/api/v1/namespaces/default/configmaps"
PREFIX = "/configmaps/default/"
GONE = (OSError, http.client.HTTPException, ValueError)
KEYS = 12


@dataclass
class Client:
    """Creates, updates, deletes and reads a few keys that all clients share, and notes all of it."""

    name: str
    seed: int
    connect: Callable[[], Connection]
    stop: threading.Event
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        chance, number = random.Random(self.seed), 0
        while not self.stop.is_set():
            with contextlib.suppress(*GONE), self.connect() as connection:
                while not self.stop.is_set():
                    number += 1
                    self._step(connection, f"k{chance.randrange(KEYS)}", f"{self.name}-{number}", chance)
            self.stop.wait(0.05)

    def _step(self, connection: Connection, key: str, value: str, chance: random.Random) -> None:
        begun = time.monotonic()
        answer = connection.send("GET", f"{MAPS}/{key}")
        if answer.status not in (200, 404):
            self.refused[answer.status] += 1
            return
        found = answer.version if answer.status == 200 else 0
        self.reads.append(Read(key, begun, found))
        body: dict[str, Any] = {
            "metadata": {"name": key},
            "data": {"value": value, "filler": "x" * chance.randrange(2000)},
        }
        if not found:
            self._write(connection, "POST", MAPS, body, key, value, 0)
        elif chance.random() < 0.2:
            options = {
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "preconditions": {"resourceVersion": str(found)},
            }
            self._write(connection, "DELETE", f"{MAPS}/{key}", options, key, DELETED, found)
        else:
            body["metadata"]["resourceVersion"] = str(found)
            self._write(connection, "PUT", f"{MAPS}/{key}", body, key, value, found)

    def _write(
        self, connection: Connection, method: str, path: str, body: Any, key: str, value: str, expected: int
    ) -> None:
        begun = time.monotonic()
        try:
            answer = connection.send(method, path, body)
        except GONE:
            self.writes.append(Write(key, value, expected, begun, time.monotonic(), 0))
            raise
        ended = time.monotonic()
        if answer.status in (200, 201):
            if value != DELETED:
                self.writes.append(Write(key, value, expected, begun, ended, answer.version))
            else:  # its answer is the object as it was, without the revision of the deletion
                self.writes.append(Write(key, value, expected, begun, ended, 0, done=True))
        elif answer.status >= 500:  # it may have happened
            self.refused[answer.status] += 1
            self.writes.append(Write(key, value, expected, begun, ended, 0))
        elif answer.status not in (404, 409):
            raise AssertionError(answer)


@dataclass
class Watcher:
    """Watches from where it is; where that is too old, from a new list on."""

    connect: Callable[[], Connection]
    stop: threading.Event
    watches: list[Watched] = field(default_factory=list)
    connection: Connection | None = None

    def run(self) -> None:
        position = 0
        while not self.stop.is_set():
            with contextlib.suppress(*GONE), self.connect() as connection:
                if not position:
                    position = connection.send("GET", MAPS).version
                position = self._follow(connection, position)
            self.stop.wait(0.05)

    def _follow(self, connection: Connection, position: int) -> int:
        watched = Watched(position)
        self.watches.append(watched)
        try:
            answer = connection.open("GET", f"{MAPS}?watch=1&timeoutSeconds=5&resourceVersion={position}")
            if answer.status != 200:
                answer.read()
                return 0 if answer.status == 410 else position
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return 0
                metadata = event["object"]["metadata"]
                position = int(metadata["resourceVersion"])
                watched.events.append((position, metadata["name"], event["type"] == "DELETED"))
        except GONE:
            pass  # cut off: it goes on from what it has seen
        return position


@dataclass(frozen=True)
class Verdict:
    problems: list[str]
    commits: int
    acknowledged: int
    unanswered: int
    reads: int
    watched: int
    refused: dict[int, int]


def run(
    servers: Sequence[ServerProcess],
    kills: Sequence[Callable[[], None]],
    *,
    seed: int,
    clients: int,
    pause: float,
) -> Verdict:
    """Each kill in turn, with a random pause before it; a kill also starts what it has killed."""
    stop = threading.Event()
    workers = [
        Client(f"c{seed}x{n}", seed * 100 + n, servers[n % len(servers)].connect, stop)
        for n in range(clients)
    ]
    watchers = [Watcher(server.connect, stop) for server in servers for _ in range(2)]
    start = servers[0].send("GET", MAPS).version
    runs = [*(worker.run for worker in workers), *(watcher.run for watcher in watchers)]
    threads = [threading.Thread(target=each) for each in runs]
    for thread in threads:
        thread.start()
    chance = random.Random(seed)
    try:
        for kill in kills:
            time.sleep(chance.uniform(pause / 2, pause * 1.5))
            kill()
        time.sleep(pause)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    log = asyncio.run(committed(servers[0], start))
    writes = [w for worker in workers for w in worker.writes]
    reads = [r for worker in workers for r in worker.reads]
    watches = [w for watcher in watchers for w in watcher.watches]
    refused: Counter[int] = sum((worker.refused for worker in workers), Counter())
    return Verdict(
        problems=list(problems(log, writes, reads, watches)),
        commits=len(log),
        acknowledged=sum(1 for w in writes if w.revision),
        unanswered=sum(1 for w in writes if not w.revision),
        reads=len(reads),
        watched=sum(len(w.events) for w in watches),
        refused=dict(refused),
    )


async def committed(server: ServerProcess, start: int) -> list[Commit]:
    """All that the store tells of what came after a revision. The server must not run with a file of its own."""
    paths = Paths(server.folder)
    config = settings.load(paths)
    assert config is not None
    if config.store == "sqlite":
        server.down()
    found: list[Commit] = []
    async with opened_store(config, paths, SystemClock()) as store:
        newest = await store.revision()
        # one more, in whose turn the watch is known to have told everything
        end = await store.create(f"/timonel/end-{newest}", b"{}")
        async for batch in store.watch("/", after=start):
            for event in batch:
                if event.key.startswith(PREFIX):
                    value = json.loads(event.record.value)["data"]["value"] if event.record else DELETED
                    found.append(Commit(event.revision, event.key.removeprefix(PREFIX), value))
            if batch[-1].revision >= end.modified:
                break
    return found


def kill_and_start(server: ServerProcess) -> None:
    server.kill()
    server.up()


def torture(
    folder: Path, backend: str, *, rounds: int, seed: int, clients: int = 6, pause: float = 0.6
) -> Verdict:
    """`backend` is sqlite or etcd; with etcd there are two servers, and all three processes are killed in turn."""
    with contextlib.ExitStack() as stack:
        if backend == "sqlite":
            servers = [ServerProcess(folder)]
            kills: list[Callable[[], None]] = [lambda: kill_and_start(servers[0])]
        else:
            member = stack.enter_context(etcd(folder / "etcd"))
            servers = [ServerProcess(folder, name=name, store=member.url) for name in ("one", "two")]

            def kill_etcd() -> None:
                member.kill()
                member.start()

            kills = [lambda: kill_and_start(servers[0]), kill_etcd, lambda: kill_and_start(servers[1])]
        for server in servers:
            if server is not servers[0]:
                server.share_keys(servers[0])
            server.up()
            stack.callback(server.down)
        return run(
            servers, [kills[n % len(kills)] for n in range(rounds)], seed=seed, clients=clients, pause=pause
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("--backend", choices=("sqlite", "etcd"), action="append", help="[default: both]")
    parser.add_argument("--rounds", type=int, default=30, help="kills of each run [default: 30]")
    parser.add_argument("--runs", type=int, default=3, help="[default: 3]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    bad = 0
    for backend in options.backend or ("sqlite", "etcd"):
        for seed in range(options.seed, options.seed + options.runs):
            with tempfile.TemporaryDirectory(prefix="timonel-torture-") as folder:
                verdict = torture(
                    Path(folder), backend, rounds=options.rounds, seed=seed, clients=options.clients
                )
            print(f"{backend} seed {seed}: {verdict}")
            bad += len(verdict.problems)
    print("consistent" if not bad else f"{bad} PROBLEMS")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

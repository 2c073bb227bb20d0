"""kill -9 of the server while 32 clients write: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.servers import ServerProcess, running

CLIENTS, ROUNDS = 32, 4
MAPS = "/api/v1/namespaces/default/configmaps"
GONE = (OSError, http.client.HTTPException)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running(tmp_path) as server:
        yield server


@dataclass
class Writer:
    """One client: creates an object and rewrites it for as long as it is answered, and notes what it was told."""

    name: str
    seed: int
    tried: list[dict[str, str]] = field(default_factory=list)
    acknowledged: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # name -> version, data
    versions: list[int] = field(default_factory=list)

    def run(self, server: ServerProcess) -> None:
        chance = random.Random(self.seed)
        number = 0
        try:
            with server.connect() as connection:
                while True:
                    name = f"{self.name}-{number // 3}"  # created, then written twice
                    data = self._content(chance, number)
                    self.tried.append(data)
                    body = {"metadata": {"name": name}, "data": data}
                    method, path = ("PUT", f"{MAPS}/{name}") if number % 3 else ("POST", MAPS)
                    answer = connection.send(method, path, body)
                    assert answer.status in (200, 201), answer.body
                    assert answer.body["data"] == data
                    self.acknowledged[name] = (answer.version, data)
                    self.versions.append(answer.version)
                    number += 1
        except GONE:
            return

    def _content(self, chance: random.Random, number: int) -> dict[str, str]:
        text = f"{self.name} {number} " + chance.randbytes(chance.randrange(10, 3000)).hex()
        return {"text": text, "digest": hashlib.sha256(text.encode()).hexdigest()}


class Watcher:
    """Follows the objects until the server is gone; `versions` in the order they came."""

    def __init__(self, server: ServerProcess, after: int) -> None:
        self.after, self.versions = after, [after]
        self._connection = server.connect(timeout=30)
        self._answer = self._connection.open("GET", f"{MAPS}?watch=1&resourceVersion={after}")
        assert self._answer.status == 200

    def run(self) -> None:
        try:
            for line in self._answer:
                self.versions.append(int(json.loads(line)["object"]["metadata"]["resourceVersion"]))
        except (*GONE, ValueError):  # the line that was being sent
            pass
        self._answer.close()
        self._connection.__exit__()


@pytest.mark.parametrize("seed", [1])
def test_what_was_acknowledged_survives(server: ServerProcess, seed: int) -> None:
    chance = random.Random(seed)
    expected: dict[str, tuple[int, dict[str, str]]] = {}
    tried: dict[str, list[dict[str, str]]] = {}
    newest = 0
    for turn in range(ROUNDS):
        before = server.send("GET", MAPS)
        assert int(before.body["metadata"]["resourceVersion"]) >= newest, "versions went back"
        watcher = Watcher(server, before.version)
        writers = [Writer(f"w{turn}-{n}", chance.randrange(1 << 30)) for n in range(CLIENTS)]
        threads = [threading.Thread(target=w.run, args=(server,)) for w in writers]
        threads.append(threading.Thread(target=watcher.run))
        for thread in threads:
            thread.start()
        threading.Event().wait(chance.uniform(0.2, 1.2))

        server.kill()

        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert sum(len(w.acknowledged) for w in writers) > CLIENTS / 2, "hardly anything was written"
        server.up()
        for writer in writers:
            expected |= writer.acknowledged
            tried[writer.name] = writer.tried
        found = {item["metadata"]["name"]: item for item in server.send("GET", MAPS).body["items"]}
        check_acknowledged(found, expected, tried)
        newest = max(v for w in writers for v in w.versions)
        assert watcher.versions == sorted(set(watcher.versions))
        newest = max(newest, *watcher.versions)
        fresh = server.send("POST", MAPS, {"metadata": {"name": f"after-{turn}"}})
        assert fresh.version > newest, "a version was given twice"
        check_resumed(server, watcher.versions[-1], fresh.version)
    assert "Traceback" not in server.log


def check_acknowledged(
    found: dict[str, Any],
    expected: dict[str, tuple[int, dict[str, str]]],
    tried: dict[str, list[dict[str, str]]],
) -> None:
    for name, (version, data) in expected.items():
        assert name in found, f"{name} was acknowledged and is gone"
        stored = found[name]
        if int(stored["metadata"]["resourceVersion"]) == version:
            assert stored["data"] == data
        else:  # a later write arrived whose answer did not
            assert int(stored["metadata"]["resourceVersion"]) > version
            assert stored["data"] in tried[name.rpartition("-")[0]]
    for name, stored in found.items():
        assert stored["metadata"]["uid"]
        if "text" in stored.get("data", {}):
            text = stored["data"]["text"]
            assert stored["data"]["digest"] == hashlib.sha256(text.encode()).hexdigest(), name


def check_resumed(server: ServerProcess, last: int, newest: int) -> None:
    """A watch goes on where it was, or is told with 410 to begin anew."""
    with server.connect() as connection:
        answer = connection.open("GET", f"{MAPS}?watch=1&resourceVersion={last}&timeoutSeconds=1")
        assert answer.status == 200
        events = [json.loads(line) for line in answer]
        answer.close()
    if events[0]["type"] == "ERROR":
        assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")
        return
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert versions[0] > last
    assert newest in versions

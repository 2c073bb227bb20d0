"""A disk that is full: writes are refused with what to do, reads go on, and nothing that was acknowledged is lost.

The disk is full in three ways: for the store alone (a page limit of SQLite's own), for the whole server process (a
limit on the size of its files, as any user can set it), and, in tests/system, really.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.servers import ServerProcess, running
from timonel.store.base import Unreachable
from timonel.store.sqlite import SqliteStore

MAPS = "/api/v1/namespaces/default/configmaps"
FILLER = "x" * 20_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running(tmp_path) as server:
        yield server


@pytest.mark.looptime(False)
async def test_a_full_store_refuses_and_carries_on(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    kept = await store.create("/a", b"kept")
    store._connection.execute("PRAGMA max_page_count = 20")

    written: list[str] = []

    async def fill() -> None:
        while True:
            written.append((await store.create(f"/filler/{len(written):03}", FILLER.encode())).key)

    with pytest.raises(Unreachable, match="the disk is full: free some space"):
        await fill()
    assert (await store.get("/a")) == kept
    assert [r.key for r in (await store.list("/filler/")).records] == written

    store._connection.execute("PRAGMA max_page_count = 100000")
    again = await store.update("/a", b"again", expected=kept.modified)
    assert again.modified == kept.modified + len(written) + 1
    await store.close()


def test_a_server_without_space_refuses_writes_and_answers_reads(server: ServerProcess) -> None:
    acknowledged = {}
    for number in range(3):
        answer = server.send("POST", MAPS, filler(f"before-{number}"))
        acknowledged[f"before-{number}"] = answer.version
    no_more_space(server.pid, server.folder)

    refused = None
    for number in range(50):
        answer = server.send("POST", MAPS, filler(f"while-{number}"))
        if answer.status != 201:
            refused = answer
            break
        acknowledged[f"while-{number}"] = answer.version

    assert refused is not None, "the disk was never full"
    assert refused.status == 503
    assert refused.body["reason"] == "ServiceUnavailable"
    assert refused.body["message"].startswith("the store cannot serve now: ")
    assert "full" in refused.body["message"]
    assert "retry-after" not in refused.headers  # kubectl would try ten times before it says anything
    check_stored(server, acknowledged)
    nothing_but_the_start_of_files(server.pid)  # a checkpoint would leave room in the log once more
    assert server.send("POST", MAPS, filler("while-still", size=100_000)).status == 503
    assert server.send("GET", f"{MAPS}/before-0").status == 200

    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
    answer = server.send("POST", MAPS, filler("after"))
    assert answer.status == 201
    assert answer.version > max(acknowledged.values())
    acknowledged["after"] = answer.version
    check_stored(server, acknowledged)
    server.kill()
    server.up()
    check_stored(server, acknowledged)
    assert "Traceback" not in server.log


def filler(name: str, *, size: int = len(FILLER)) -> dict[str, object]:
    return {"metadata": {"name": name}, "data": {"filler": FILLER[0] * size}}


def check_stored(server: ServerProcess, acknowledged: dict[str, int]) -> None:
    found = {
        item["metadata"]["name"]: int(item["metadata"]["resourceVersion"])
        for item in server.send("GET", MAPS).body["items"]
        if "filler" in item.get("data", {})
    }
    assert found == acknowledged


def no_more_space(pid: int, folder: Path) -> None:
    """No file of the process may grow beyond what the largest has now, and a little."""
    largest = max(path.stat().st_size for path in folder.glob("state.db*"))
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))


def nothing_but_the_start_of_files(pid: int) -> None:
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (64 * 1024, hard))

"""`timonel backup`, `restore` and `secrets` as users type them, against clusters that run meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.servers import ServerProcess, running, timonel

MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running(tmp_path) as server:
        yield server


def run(*words: str, fails: bool = False) -> str:
    done = timonel(*words)
    assert (done.returncode != 0) is fails, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def test_a_backup_of_a_busy_cluster_is_restored(tmp_path: Path, server: ServerProcess) -> None:
    server.send("POST", SECRETS, {"metadata": {"name": "s"}, "data": {"a": "aHVudGVyMg=="}})
    file, stop = tmp_path / "all.backup", threading.Event()

    def write() -> None:
        with server.connect() as connection:
            number = 0
            while not stop.is_set():
                connection.send("POST", MAPS, {"metadata": {"name": f"m{number:05}"}})
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = run("backup", str(file), "--with-keys", *server.where)
    finally:
        stop.set()
        writer.join()
    newest = server.send("GET", MAPS)
    refused = run("restore", str(file), *server.where, fails=True)
    server.down()
    exists = run("restore", str(file), *server.where, fails=True)
    run("restore", "--force", str(file), *server.where)
    server.up()
    found = server.send("GET", MAPS)
    names = sorted(item["metadata"]["name"] for item in found.body["items"])
    watch = server.send("GET", f"{MAPS}?watch=1&resourceVersion={newest.version}")

    assert "Saved" in told
    assert "is running" in refused
    assert "--force" in exists
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"hunter2" not in file.read_bytes()
    assert names == [f"m{n:05}" for n in range(len(names))]
    assert found.version > newest.version + 900_000
    assert server.send("GET", f"{SECRETS}/s").body["data"] == {"a": "aHVudGVyMg=="}
    assert watch.body["object"]["code"] == 410
    assert (server.folder / "state.db.before-1").exists()

    other = ("--name", "other", "--data-dir", str(tmp_path))
    run("restore", str(file), *other)
    again = ServerProcess(tmp_path, name="other")
    try:
        run("up", *other, "--port", "0", "--quiet")
        assert again.send("GET", f"{SECRETS}/s").body["data"] == {"a": "aHVudGVyMg=="}
    finally:
        again.down()


def test_without_keys_a_backup_goes_only_where_they_are(tmp_path: Path, server: ServerProcess) -> None:
    file = tmp_path / "a.backup"
    told = run("backup", str(file), *server.where)
    again = run("backup", str(file), *server.where, fails=True)
    elsewhere = run("restore", str(file), "--name", "other", "--data-dir", str(tmp_path), fails=True)
    (tmp_path / "bad.backup").write_bytes(file.read_bytes()[:-40])
    damaged = run(
        "restore", str(tmp_path / "bad.backup"), "--name", "other", "--data-dir", str(tmp_path), fails=True
    )

    assert "The keys are not in it" in told
    assert "exists already" in again
    assert "the keys of the cluster are neither" in elsewhere
    assert "checksum" in damaged
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("is_running", [True, False])
def test_keys_are_rotated_and_everything_is_under_the_new_one(
    server: ServerProcess, is_running: bool
) -> None:
    for n in range(5):
        server.send("POST", SECRETS, {"metadata": {"name": f"s{n}"}, "data": {"a": "aHVudGVyMg=="}})
    if not is_running:
        server.down()
    before = json.loads(run("secrets", "status", "-o", "json", *server.where))
    told = run("secrets", "rotate-key", "--kind", "chacha20poly1305", *server.where)
    after = json.loads(run("secrets", "status", "-o", "json", *server.where))
    run("secrets", "resources", "secrets", "configmaps", *server.where)
    listed = json.loads(run("secrets", "status", "-o", "json", *server.where))
    refused = run("secrets", "resources", "configmaps", *server.where, fails=True)
    server.up()

    assert [(r["key"], r["objects"], r["state"]) for r in before] == [("aesgcm/key1", "5", "writes")]
    assert "5 objects written anew" in told
    assert [(r["key"], r["objects"], r["state"]) for r in after] == [("chacha20poly1305/key2", "5", "writes")]
    assert {(r["resource"], r["key"]) for r in listed} == {
        ("secrets", "chacha20poly1305/key2"),
        ("configmaps", "chacha20poly1305/key2"),
    }
    assert "stays encrypted" in refused
    assert not (server.folder / "pki" / "encryption.key").exists()
    assert (server.folder / "pki" / "encryption.yaml").stat().st_mode & 0o777 == 0o600
    for n in range(5):
        assert server.send("GET", f"{SECRETS}/s{n}").body["data"] == {"a": "aHVudGVyMg=="}

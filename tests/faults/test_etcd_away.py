"""etcd is away for a while: the server says so soon, serves what need not be new, and takes up its work again."""

from __future__ import annotations

import time
from pathlib import Path

from tests.faults.servers import Answer, ServerProcess, timonel, wait_for
from tests.store.etcd.servers import etcd

MAPS = "/api/v1/namespaces/default/configmaps"


def test_an_etcd_that_is_away(tmp_path: Path) -> None:
    with etcd(tmp_path / "etcd") as member:
        server = ServerProcess(tmp_path, store=member.url)
        server.up()
        try:
            pid = server.pid
            kept = server.send("POST", MAPS, {"metadata": {"name": "kept"}})
            server.send("GET", MAPS)  # now it has them
            member.kill()
            begun = time.monotonic()
            written = server.send("POST", MAPS, {"metadata": {"name": "refused"}})
            read = server.send("GET", f"{MAPS}/kept")
            cached = server.send("GET", f"{MAPS}/kept?resourceVersion=0")
            lasted = time.monotonic() - begun
            time.sleep(12)  # longer than anything in the server waits
            member.start()
            again = wait_for(
                lambda: _created(server, {"metadata": {"name": "again"}}), "a write that is answered"
            )
            listed = server.send("GET", MAPS).body["items"]

            assert (written.status, written.body["reason"]) == (503, "ServiceUnavailable")
            assert read.status == 503
            assert (cached.status, cached.version) == (200, kept.version)
            assert lasted < 15
            assert again.version > kept.version
            assert {"kept", "again"} <= {item["metadata"]["name"] for item in listed}
            assert server.pid == pid
            assert "Traceback" not in server.log
        finally:
            server.down()


def test_an_etcd_that_hangs(tmp_path: Path) -> None:
    with etcd(tmp_path / "etcd") as member:
        server = ServerProcess(tmp_path, store=member.url)
        server.up()
        try:
            pid = server.pid
            kept = server.send("POST", MAPS, {"metadata": {"name": "kept"}})
            server.send("GET", MAPS)
            member.freeze()
            begun = time.monotonic()
            written = server.send("POST", MAPS, {"metadata": {"name": "unknown"}})
            write_lasted = time.monotonic() - begun
            begun = time.monotonic()
            read = server.send("GET", f"{MAPS}/kept")
            read_lasted = time.monotonic() - begun
            member.thaw()
            again = wait_for(
                lambda: _created(server, {"metadata": {"name": "again"}}), "a write that is answered"
            )
            names = [item["metadata"]["name"] for item in server.send("GET", MAPS).body["items"]]
            found = server.send("GET", f"{MAPS}/unknown")

            assert (written.status, written.body["reason"]) == (504, "Timeout")
            assert written.body["message"].startswith("etcdserver: request timed out")
            assert (read.status, read.body["reason"]) == (503, "ServiceUnavailable")
            assert write_lasted < 8
            assert read_lasted < 8
            assert (
                "retry-after" not in written.headers | read.headers
            )  # a write is not to be repeated unasked
            assert names == sorted(set(names))
            assert {"kept", "again"} <= set(names)
            assert found.status == (200 if "unknown" in names else 404)
            assert kept.version < again.version
            assert server.pid == pid
            assert "Traceback" not in server.log
        finally:
            member.thaw()
            server.down()


def test_a_server_that_finds_no_etcd_says_so(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = timonel(
        "up", "--data-dir", str(tmp_path), "--name", "lonely", "--components", "api", "--port", "0",
        "--etcd-servers", "http://127.0.0.1:1",
    )  # fmt: skip

    assert done.returncode == 1
    assert "etcd cannot serve now: failed to connect to 127.0.0.1:1" in done.stdout
    assert "Traceback" not in done.stdout
    assert time.monotonic() - begun < 20


def _created(server: ServerProcess, body: dict[str, object]) -> Answer | None:
    answer = server.send("POST", MAPS, body)
    return answer if answer.status == 201 else None

"""A disk that is really full: a file system of a few megabytes below a cluster's folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.servers import ServerProcess, running, timonel
from tests.faults.test_full_disk import MAPS, check_stored, filler

SIZE = 6  # megabytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    file = disk / "other people's data"
    with file.open("wb", buffering=0) as out:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while out.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return file


def written_until_refused(server: ServerProcess, acknowledged: dict[str, int]) -> None:
    for number in range(1000):
        answer = server.send("POST", MAPS, filler(f"map-{number}"))
        if answer.status != 201:
            assert answer.status == 503
            assert "free some space" in answer.body["message"]
            return
        acknowledged[f"map-{number}"] = answer.version
    raise AssertionError("the disk was never full")


def test_a_full_disk_loses_nothing_and_is_got_over(disk: Path) -> None:
    with running(disk) as server:
        acknowledged = {"first": server.send("POST", MAPS, filler("first")).version}
        others = fill(disk)

        written_until_refused(server, acknowledged)
        check_stored(server, acknowledged)

        others.unlink()
        answer = server.send("POST", MAPS, filler("after"))
        assert answer.status == 201
        acknowledged["after"] = answer.version
        check_stored(server, acknowledged)
        server.kill()
        server.up()
        check_stored(server, acknowledged)
        assert "Traceback" not in server.log


def test_a_cluster_does_not_start_on_a_full_disk_and_says_why(disk: Path) -> None:
    others = fill(disk)

    said = timonel("up", "--data-dir", str(disk), "--name", "full", "--runtime", "simulated", "--port", "0")

    assert said.returncode == 1
    assert "No space left on device" in said.stdout
    assert "Free some space there, or choose another place: --data-dir DIR" in said.stdout
    assert "Traceback" not in said.stdout
    others.unlink()

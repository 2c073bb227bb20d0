from __future__ import annotations

import os
from pathlib import Path

import pytest

from timonel.node.volumes.source import VolumeError
from timonel.node.volumes.subpath import open_below


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "secret").mkdir()
    found = tmp_path / "v"
    found.mkdir()
    (found / "file").write_text("x")
    (found / "inside").symlink_to("file")
    (found / "out").symlink_to("/etc")
    (found / "up").symlink_to("../secret")
    (found / "nowhere").symlink_to("missing")
    return found


def opened(volume: Path, sub: str, *, make: bool = True) -> str:
    descriptor = open_below(volume, sub, make=make)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def test_what_is_missing_is_made(volume: Path) -> None:
    assert opened(volume, "new/dir") == f"{volume}/new/dir"
    assert (volume / "new" / "dir").is_dir()


@pytest.mark.parametrize("sub", ["file", "inside"])
def test_a_file_and_a_link_within_the_volume_are_found(volume: Path, sub: str) -> None:
    assert opened(volume, sub) == f"{volume}/file"


@pytest.mark.parametrize("sub", ["../x", "out/passwd", "out/new", "up", "up/new", "/etc", "new/../../x"])
def test_nothing_leads_outside(volume: Path, sub: str) -> None:
    with pytest.raises(VolumeError, match="outside"):
        opened(volume, sub)

    assert not list((volume.parent / "secret").iterdir())


@pytest.mark.parametrize(("sub", "make"), [("new", False), ("nowhere", True)])
def test_what_does_not_exist_is_said(volume: Path, sub: str, make: bool) -> None:
    with pytest.raises(VolumeError, match="does not exist"):
        opened(volume, sub, make=make)


def test_descriptors_are_given_back(volume: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for sub in ("new/a", "file", "up", "file/x", "nowhere"):
        for _ in range(3):
            try:
                opened(volume, sub)
            except VolumeError:
                continue

    assert len(os.listdir("/proc/self/fd")) == before

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from timonel.node.volumes import nfs
from timonel.node.volumes.source import VolumeError

SOURCE = {"server": "files.example.com", "path": "/export"}


class Mounting:
    """Stands in for mount(8)."""

    def __init__(self, code: int = 0, error: bytes = b"") -> None:
        self.commands: list[tuple[str, ...]] = []
        self.returncode = code
        self._error = error

    async def __call__(self, *command: str, **_: Any) -> Mounting:
        self.commands.append(command)
        return self

    async def communicate(self) -> tuple[bytes, bytes]:
        return b"", self._error


def stand_in(monkeypatch: pytest.MonkeyPatch, mounting: Mounting) -> Mounting:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/sbin/mount.nfs")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", mounting)
    return mounting


async def test_what_is_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounting = stand_in(monkeypatch, Mounting())
    await nfs.set_up(tmp_path / "a", SOURCE)
    await nfs.set_up(tmp_path / "b", {**SOURCE, "readOnly": True}, ["nfsvers=4.2"])

    plain, with_options = mounting.commands
    assert plain == ("mount", "-t", "nfs", "files.example.com:/export", str(tmp_path / "a"))
    assert with_options[3:5] == ("-o", "ro,nfsvers=4.2")


async def test_a_host_that_cannot_mount_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(VolumeError) as failure:
        await nfs.set_up(tmp_path / "a", SOURCE)

    assert "mount.nfs is not installed on this node: apt-get install nfs-common" in str(failure.value)


async def test_what_mount_says_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, Mounting(32, b"mount.nfs: No such device\n"))
    with pytest.raises(VolumeError) as failure:
        await nfs.set_up(tmp_path / "a", SOURCE)

    assert str(failure.value) == "mount failed: exit status 32: mount.nfs: No such device"

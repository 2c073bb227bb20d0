"""What directories hold, and what is left where they are: read from the disk.

Upstream: pkg/volume/metrics_du.go, pkg/kubelet/stats, pkg/kubelet/eviction/helpers.go (makeSignalObservations).
"""

from __future__ import annotations

import os
from pathlib import Path

from timonel.node.pressure import Signal, Supplies, Supply
from timonel.records import dataclass

BLOCK = 512  # bytes, of st_blocks on every system


@dataclass(frozen=True, slots=True)
class Held:
    size: int = 0  # bytes on the disk
    inodes: int = 0

    def __add__(self, other: Held) -> Held:
        return Held(self.size + other.size, self.inodes + other.inodes)


def held(directory: Path) -> Held:
    """By the tree below, without other file systems that are mounted in it. What goes away meanwhile holds nothing."""
    try:
        device = directory.lstat().st_dev
    except OSError:
        return Held()
    size = inodes = 0
    waiting = [os.fspath(directory)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if found.st_dev != device:
                continue
            size += found.st_blocks * BLOCK
            inodes += 1
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return Held(size, inodes)


def supplies(directory: Path, memory: tuple[int, int], pids: tuple[int, int]) -> Supplies:
    """`memory` and `pids`: available and capacity. Images and pods live on the same file system."""
    disk = os.statvfs(directory)
    space = Supply(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
    found = {
        Signal.MEMORY: Supply(*memory),
        Signal.NODE_DISK: space,
        Signal.IMAGE_DISK: space,
        Signal.PIDS: Supply(*pids),
    }
    if disk.f_files:  # some file systems have no fixed number
        inodes = Supply(disk.f_favail, disk.f_files)
        found |= {Signal.NODE_INODES: inodes, Signal.IMAGE_INODES: inodes}
    return found

"""fsGroup: the group that owns a volume's files and may write them. Upstream: pkg/volume/volume_linux.go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FILE_BITS, DIRECTORY_BITS = 0o660, 0o2770


def give_to_group(root: Path, group: int, *, only_if_root_differs: bool = False) -> None:
    """With `only_if_root_differs` (fsGroupChangePolicy OnRootMismatch) a tree whose top is right is left alone."""
    if only_if_root_differs:
        top = root.stat()
        if top.st_gid == group and top.st_mode & DIRECTORY_BITS == DIRECTORY_BITS:
            return
    _give(root, group)
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            _give(Path(directory, name), group)


def _give(path: Path, group: int) -> None:
    found = path.lstat()
    os.chown(path, -1, group, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        return
    bits = DIRECTORY_BITS if stat.S_ISDIR(found.st_mode) else FILE_BITS
    path.chmod(stat.S_IMODE(found.st_mode) | bits)

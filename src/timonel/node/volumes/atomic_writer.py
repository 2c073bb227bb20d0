"""Replaces a directory's files all at once, so that a reader sees the old set or the new one and never a mixture.

Files lie in a directory named after the time; `..data` is a symbolic link to it that is renamed into place; each name a
user sees is a link through `..data`. Upstream: pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from timonel.node.volumes.source import Files

DATA, NEW_DATA = "..data", "..data_tmp"


def write(target: Path, files: Files, *, group: int | None = None) -> bool:
    """Whether anything changed. `group` may read all of it, whatever the modes say (fsGroup)."""
    current = target / DATA
    if current.exists() and _is_same(current, files, group):
        return False
    old = os.readlink(current) if current.is_symlink() else None
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=target))
    _fill(fresh, files, group)
    link = target / NEW_DATA
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(current)
    _link_names(target, files)
    if old is not None:
        shutil.rmtree(target / old, ignore_errors=True)
    return True


def _mode(mode: int, group: int | None) -> int:
    return mode if group is None else mode | 0o440


def _fill(directory: Path, files: Files, group: int | None) -> None:
    directory.chmod(0o755 if group is None else 0o2775)
    if group is not None:
        os.chown(directory, -1, group)
    for name, file in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        if group is not None or file.owner is not None:
            os.chown(path, -1 if file.owner is None else file.owner, -1 if group is None else group)
        path.chmod(_mode(file.mode, group))


def _is_same(directory: Path, files: Files, group: int | None) -> bool:
    found = {str(p.relative_to(directory.resolve())) for p in directory.resolve().rglob("*") if p.is_file()}
    if found != set(files):
        return False
    for name, file in files.items():
        path = directory / name
        if path.stat().st_mode & 0o7777 != _mode(file.mode, group) or path.read_bytes() != file.data:
            return False
    return True


def _link_names(target: Path, files: Files) -> None:
    wanted = {name.split("/", 1)[0] for name in files}
    for name in wanted:
        link = target / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for entry in target.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()

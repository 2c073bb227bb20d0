"""A path of the node, checked or made as its type says. Upstream: pkg/volume/hostpath/host_path.go."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from timonel.node.volumes.source import VolumeError

_CHECKS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "Directory": ("a directory", stat.S_ISDIR),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def set_up(source: Mapping[str, Any]) -> str:
    """The path, once it is what it should be. Without a type nothing is checked: the runtime makes a directory."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(0o755, parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            try:
                path.touch(0o644)
            except OSError as e:
                raise VolumeError(f"hostPath type check failed: {e}") from e
        kind = "File"
    if kind in _CHECKS:
        noun, is_kind = _CHECKS[kind]
        if not path.exists() or not is_kind(path.stat().st_mode):
            raise VolumeError(f"hostPath type check failed: {path} is not {noun}")
    return str(path)

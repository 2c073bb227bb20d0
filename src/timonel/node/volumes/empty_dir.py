"""An empty directory that lives as long as the pod; on a tmpfs with `medium: Memory`.

Upstream: pkg/volume/emptydir/empty_dir.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.node import amounts
from timonel.node.volumes import mounts


def set_up(path: Path, source: Mapping[str, Any]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory" and not mounts.is_mounted(path):
        limit = amounts.whole(source.get("sizeLimit"))
        mounts.mount_tmpfs(path, limit)
    path.chmod(0o777)

"""An empty directory that lives as long as the pod; on a tmpfs with `medium: Memory`.

Upstream: pkg/volume/emptydir/empty_dir.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.node import amounts
from timonel.node.volumes import mounts
from timonel.node.volumes.source import Context, VolumeError


def set_up(path: Path, source: Mapping[str, Any], memory_bound: int) -> None:
    """Again for one that is there already: its mode, and its group, stay as they are."""
    medium = source.get("medium") or ""
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    if medium == "Memory" and not mounts.is_mounted(path):
        mounts.mount_tmpfs(path, memory_bound)
        is_new = True
    elif medium.startswith("HugePages") and not mounts.is_mounted(path):
        mounts.mount_hugepages(path, medium.removeprefix("HugePages").removeprefix("-"))
        is_new = True
    elif medium not in ("", "Memory") and not medium.startswith("HugePages"):
        raise VolumeError(f'unknown storage medium "{medium}"')
    if is_new:
        path.chmod(0o777)


def memory_bound(context: Context, volume: Mapping[str, Any]) -> int:
    """How large a tmpfs may grow: its own limit, the pod's memory limit or what the node can give; the least."""
    spec = context.pod["spec"]
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    limits = [_memory_limit(c) for c in containers]
    whole = _memory_limit(spec)
    bounds = [
        amounts.whole((volume.get("emptyDir") or {}).get("sizeLimit")),
        whole or (sum(limits) if all(limits) else 0),
        amounts.whole(context.sources.allocatable.get("memory")),
    ]
    return min((b for b in bounds if b), default=0)


def _memory_limit(owner: Mapping[str, Any]) -> int:
    return amounts.whole(((owner.get("resources") or {}).get("limits") or {}).get("memory"))

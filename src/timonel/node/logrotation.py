"""Keeps container logs from filling the disk: a log that grew too long is put aside and the runtime starts a new one.

Upstream: pkg/kubelet/logs/container_log_manager.go (containerLogMaxSize 10Mi, containerLogMaxFiles 5).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

MAX_SIZE = 10 << 20
MAX_FILES = 5  # the current one included


def is_too_long(path: Path) -> bool:
    try:
        return path.stat().st_size > MAX_SIZE
    except OSError:
        return False


def doomed(names: Sequence[str]) -> list[str]:
    """Of the logs that were put aside (their names end in the time), those that are too many: the oldest."""
    keep = MAX_FILES - 2  # beside the current one and the one that is about to be put aside
    return sorted(names)[: max(len(names) - keep, 0)]


def put_aside(path: Path, now: float) -> None:
    """Rename; the caller then has the runtime reopen the log. Nothing is lost: the old one is written to until then."""
    aside = [p.name for p in path.parent.glob(f"{path.name}.*")]
    for name in doomed(aside):
        (path.parent / name).unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    path.rename(path.with_name(f"{path.name}.{stamp}"))

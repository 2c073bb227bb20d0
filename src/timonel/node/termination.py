"""What a container says when it ends: its termination message file, or the end of its log.

Upstream: kuberuntime_container.go (getTerminationMessage, readLastStringFromContainerLogs).
"""

from __future__ import annotations

from pathlib import Path

from timonel.node import logs
from timonel.node.cri.runtime import Container
from timonel.node.podruntime import TERMINATION_PATH, TERMINATION_POLICY

FILE_LIMIT = 4096
LOG_LIMIT, LOG_LINES = 2048, 80


def message_of(container: Container) -> str:
    """Of an ended container; empty when it left none."""
    wanted = container.annotations.get(TERMINATION_PATH)
    text = ""
    for mount in container.mounts:
        if wanted and mount.container_path == wanted:
            text = _read(Path(mount.host_path))
    policy = container.annotations.get(TERMINATION_POLICY)
    if not text and policy == "FallbackToLogsOnError" and container.exit_code != 0 and container.log_path:
        text = logs.last_text(Path(container.log_path), LOG_LINES, LOG_LIMIT)
    return text


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT).decode("utf-8", "replace")
    except OSError as e:
        return f"Error on reading termination log {path}: {e.strerror}"

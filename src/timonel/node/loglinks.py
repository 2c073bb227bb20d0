"""Links to container logs by the names that collectors of logs look for: POD_NAMESPACE_CONTAINER-ID.log.

They lie beside the folder of logs; in a box both are also at /var/log/containers and /var/log/pods, and a link leads to
the latter, so that it is good in a pod that sees only /var/log. Upstream: pkg/kubelet/kuberuntime/legacy.go.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from timonel.node.cri.runtime import ContainerConfig
from timonel.objects.meta import Object

FOLDER = "log-links"
SHOWN = Path("/var/log/pods")


def add(log_root: str, pod: Object, config: ContainerConfig, container_id: str) -> None:
    folder = _folder(log_root)
    folder.mkdir(exist_ok=True)
    meta = pod["metadata"]
    link = folder / f"{meta['name']}_{meta['namespace']}_{config.name}-{container_id}.log"
    shown = SHOWN if SHOWN.is_dir() and SHOWN.samefile(log_root) else Path(log_root)
    target = shown / f"{meta['namespace']}_{meta['name']}_{meta['uid']}" / config.log_path
    with contextlib.suppress(FileExistsError):
        link.symlink_to(target)


def tidy(log_root: str, pod: Object) -> None:
    """Remove a pod's links to logs that are not there any more."""
    meta = pod["metadata"]
    for link in _folder(log_root).glob(f"{meta['name']}_{meta['namespace']}_*.log"):
        if not link.exists():
            link.unlink(missing_ok=True)


def _folder(log_root: str) -> Path:
    return Path(log_root).with_name(FOLDER)

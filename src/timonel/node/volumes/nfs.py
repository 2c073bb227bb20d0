"""NFS, where the host has the program that mounts it. Upstream: pkg/volume/nfs/nfs.go, k8s.io/mount-utils."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.node.volumes import mounts
from timonel.node.volumes.source import VolumeError

HELPER, PACKAGE = "mount.nfs", "nfs-common"
PATIENCE = 120.0  # seconds that mounting may take


async def set_up(path: Path, source: Mapping[str, Any], options: Sequence[str] = ()) -> None:
    """`source` is the volume's `nfs`; `options` are the PersistentVolume's mountOptions. Safe to repeat, and waits
    without a thread: a server may be away for long."""
    _make(path)
    if mounts.is_mounted(path):
        return
    if shutil.which(HELPER, path="/sbin:/usr/sbin:/bin:/usr/bin") is None:
        raise VolumeError(f"mount failed: {HELPER} is not installed on this node: apt-get install {PACKAGE}")
    wanted = [*(("ro",) if source.get("readOnly") else ()), *options]
    flags = ["-o", ",".join(wanted)] if wanted else []
    command = ["mount", "-t", "nfs", *flags, f"{source['server']}:{source['path']}", str(path)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
    except TimeoutError as e:
        raise VolumeError(f"mount failed: {' '.join(command)} took longer than {PATIENCE:g}s") from e
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        why = errors.decode("utf-8", "replace").strip()
        raise VolumeError(f"mount failed: exit status {process.returncode}: {why}")


def _make(path: Path) -> None:
    path.mkdir(0o750, parents=True, exist_ok=True)

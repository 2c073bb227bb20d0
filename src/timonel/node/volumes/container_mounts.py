"""What one container mounts of its pod's volumes: places on the node for its volumeMounts and volumeDevices.

Upstream: pkg/kubelet/kubelet_pods.go (makeMounts, makeBlockVolumes), pkg/kubelet/container/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from typing import Any

from timonel.node.cri.runtime import Device, Mount
from timonel.node.environment import ConfigError, expand
from timonel.node.volumes.source import VolumeError
from timonel.node.volumes.subpath import SubPaths

_VARIABLE = re.compile(r"\$(?:\$|\(([^()]*)\))")


def container_mounts(
    container: Mapping[str, Any],
    paths: Mapping[str, str],
    read_only: AbstractSet[str],
    env: Mapping[str, str],
    sub_paths: SubPaths,
) -> tuple[Mount, ...]:
    """The container's volumeMounts on the volumes' places; makes missing subPath directories. `read_only`: volumes
    that nobody writes to, however they are mounted."""
    return tuple(_mounts(container, paths, read_only, env, sub_paths))


def _mounts(
    container: Mapping[str, Any],
    paths: Mapping[str, str],
    read_only: AbstractSet[str],
    env: Mapping[str, str],
    sub_paths: SubPaths,
) -> Iterator[Mount]:
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        volume = mount["name"]
        if volume not in paths:
            raise VolumeError(f'volume "{volume}" is not mounted')
        host = Path(paths[volume])
        sub = sub_path(mount, env)
        recursive = mount.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        if sub or recursive:
            shared = mount.get("mountPropagation") == "Bidirectional"
            host = sub_paths.hold(container["name"], number, host, sub, read_only=recursive, shared=shared)
        target = mount["mountPath"]
        yield Mount(
            target if target.startswith("/") else f"/{target}",
            str(host),
            bool(mount.get("readOnly")) or volume in read_only,
            mount.get("mountPropagation") or "None",
        )


def container_devices(container: Mapping[str, Any], paths: Mapping[str, str]) -> tuple[Device, ...]:
    """Block volumes as devices."""
    found = []
    for device in container.get("volumeDevices") or ():
        if device["name"] not in paths:
            raise VolumeError(f'volume "{device["name"]}" is not mounted')
        found.append(Device(device["devicePath"], paths[device["name"]], "mrw"))
    return tuple(found)


def sub_path(mount: Mapping[str, Any], env: Mapping[str, str]) -> str:
    """Relative and without steps back, also after its variables were put in."""
    found = str(mount.get("subPath") or "")
    if mount.get("subPathExpr"):
        names = {match[1] for match in _VARIABLE.finditer(mount["subPathExpr"]) if match[1] is not None}
        missing = sorted(name for name in names if not env.get(name))
        if missing:
            raise ConfigError(f"missing value for {', '.join(missing)}")
        found = expand(mount["subPathExpr"], env)
    if found.startswith("/"):
        raise ConfigError(f"error SubPath `{found}` must not be an absolute path")
    if ".." in PurePosixPath(found).parts:
        raise ConfigError(f"unable to provision SubPath `{found}`: must not contain '..'")
    return found

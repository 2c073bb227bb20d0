"""What every kind of volume is given, and how it says that it cannot be set up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from timonel.node.environment import Sources
from timonel.objects.meta import Object
from timonel.records import dataclass

# asks the API server for a token of the pod's service account: (audience, seconds) -> (token, expiry)
TokenSource = Callable[[str, int], Awaitable[tuple[str, float]]]


class VolumeError(Exception):
    """The volume cannot be set up now; FailedMount is recorded with this message and it is tried again."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a written volume."""

    data: bytes
    mode: int
    owner: int | None = None


Files = dict[str, File]


@dataclass(frozen=True, slots=True)
class Context:
    """One pod's surroundings. `claims` maps a claim's name to its PersistentVolumeClaim and PersistentVolume."""

    pod: Object
    root: Path  # the pod's own directory
    sources: Sources
    token: TokenSource
    now: float
    claims: Mapping[str, tuple[Object, Object]]

    @property
    def fs_group(self) -> int | None:
        found: int | None = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        return found

    @property
    def fs_user(self) -> int | None:
        """Whom the tokens belong to: the user that all containers run as, if they agree."""
        spec = self.pod["spec"]
        default = (spec.get("securityContext") or {}).get("runAsUser")
        users = {
            (c.get("securityContext") or {}).get("runAsUser", default)
            for c in (*(spec.get("initContainers") or ()), *spec["containers"])
        }
        return users.pop() if len(users) == 1 else None


def first(*modes: int | None) -> int:
    """The first that is said; 0 is said, too."""
    return next(mode for mode in modes if mode is not None)


def pick_items(
    available: Mapping[str, bytes],
    source: Mapping[str, Any],
    default_mode: int,
    missing: Callable[[str], str],
) -> Files:
    """All keys, or those that `items` names under the paths it gives them."""
    items = source.get("items")
    if not items:
        return {key: File(data, default_mode) for key, data in available.items()}
    files: Files = {}
    for item in items:
        if item["key"] in available:
            files[item["path"]] = File(available[item["key"]], first(item.get("mode"), default_mode))
        elif not source.get("optional"):
            raise VolumeError(missing(item["key"]))
    return files

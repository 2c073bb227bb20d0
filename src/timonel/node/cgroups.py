"""The pod's own cgroup (v1, cgroupfs): made with its limits before the sandbox, removed after it.

runc makes the containers' groups below and leaves ours as we set them, but never removes it.
Upstream: pkg/kubelet/cm/helpers_linux.go (ResourceConfigForPod), pod_container_manager_linux.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timonel.node import amounts
from timonel.node.podspec import CPU_PERIOD, cpu_quota, cpu_shares, qos_of
from timonel.objects.meta import Object

ROOT = Path("/sys/fs/cgroup")


def settings(pod: Object) -> dict[str, dict[str, str]]:
    """Controller -> file -> text. A limit counts only if every container has one."""
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    cpu = _sum(containers, "requests", "cpu")
    quota = _limit(containers, "cpu")
    memory = _limit(containers, "memory")
    shares = 2 if qos_of(pod) == "BestEffort" else cpu_shares(cpu)
    found = {"cpu": {"cpu.shares": str(shares)}}
    if quota:
        found["cpu"]["cpu.cfs_period_us"] = str(CPU_PERIOD)
        found["cpu"]["cpu.cfs_quota_us"] = str(cpu_quota(quota))
    if memory:
        found["memory"] = {"memory.limit_in_bytes": str(memory)}
    return found


def _amount(container: Mapping[str, Any], side: str, name: str) -> int:
    text = ((container.get("resources") or {}).get(side) or {}).get(name)
    return amounts.milli(text) if name == "cpu" else amounts.whole(text)


def _sum(containers: Iterable[Mapping[str, Any]], side: str, name: str) -> int:
    return sum(_amount(c, side, name) for c in containers)


def _limit(containers: Iterable[Mapping[str, Any]], name: str) -> int:
    found = [_amount(c, "limits", name) for c in containers]
    return sum(found) if all(found) else 0


def create(parent: str, pod: Object) -> None:
    for controller, files in settings(pod).items():
        directory = ROOT / controller / parent.lstrip("/")
        if not (ROOT / controller).is_dir():
            continue
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text)


def remove(parent: str) -> None:
    """From every hierarchy. What still has processes stays (and is removed with the pod's next clean-up)."""
    for hierarchy in ROOT.iterdir():
        directory = hierarchy / parent.lstrip("/")
        if not directory.is_dir():
            continue
        for child in sorted(directory.rglob("*"), key=lambda p: len(p.parts), reverse=True):
            if child.is_dir():
                _rmdir(child)
        _rmdir(directory)


def pods_of(root: str) -> set[str]:
    """Uids of pods that have a group below a node's root, from whatever life of the agent."""
    found = set[str]()
    for hierarchy in ROOT.iterdir():
        for qos in ("", "burstable", "besteffort"):
            found |= {p.name.removeprefix("pod") for p in (hierarchy / root.lstrip("/") / qos).glob("pod*")}
    return found


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return

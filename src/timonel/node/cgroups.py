"""The pod's own cgroup (cgroupfs, versions 1 and 2): made with its limits before the sandbox, removed after it.

runc makes the containers' groups below and leaves ours as we set them, but never removes it.
Upstream: pkg/kubelet/cm/helpers_linux.go (ResourceConfigForPod), pod_container_manager_linux.go.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from timonel.node import podresources
from timonel.node.podspec import CPU_PERIOD, cpu_quota, cpu_shares, page_of, qos_of
from timonel.objects.meta import Object

ROOT = Path("/sys/fs/cgroup")
KILL_TRIES, KILL_PAUSE = 10, 0.05


def settings(pod: Object) -> dict[str, dict[str, str]]:
    """Controller -> file -> text, for version 1. A limit counts only if every container has one."""
    bounds, quota = limits_of(pod)
    found = {"cpu": {"cpu.shares": str(_shares(pod))}}
    if quota:
        found["cpu"]["cpu.cfs_period_us"] = str(CPU_PERIOD)
        found["cpu"]["cpu.cfs_quota_us"] = str(quota)
    if bounds.get("memory"):
        found["memory"] = {"memory.limit_in_bytes": str(bounds["memory"])}
    for name, size in bounds.items():
        if name.startswith("hugepages-"):
            page = page_of(name)
            found.setdefault("hugetlb", {})[f"hugetlb.{page}.limit_in_bytes"] = str(size)
    return found


def unified_settings(pod: Object) -> dict[str, str]:
    """File -> text, for version 2."""
    bounds, quota = limits_of(pod)
    found = {"cpu.weight": str(weight(_shares(pod)))}
    found["cpu.max"] = f"{quota or 'max'} {CPU_PERIOD}"
    found["memory.max"] = str(bounds.get("memory") or "max")
    found |= {f"hugetlb.{page_of(n)}.max": str(b) for n, b in bounds.items() if n.startswith("hugepages-")}
    return found


def weight(shares: int) -> int:
    """cpu.shares (2 to 262144) as cpu.weight (1 to 10000)."""
    return 1 + (max(shares, 2) - 2) * 9999 // 262142


def limits_of(pod: Object) -> tuple[dict[str, int], int]:
    """The pod's bounds and its cpu quota; 0 is no limit."""
    bounds = podresources.limits(pod)
    return bounds, cpu_quota(bounds.get("cpu", 0))


def _shares(pod: Object) -> int:
    if qos_of(pod) == "BestEffort":
        return cpu_shares(0)
    return cpu_shares(podresources.requests(pod).get("cpu", 0))


def create(parent: str, pod: Object, *, pids: int = 0, root: Path = ROOT) -> None:
    """Make the pod's groups, or set those that are there to what the pod may use now.

    `pids`: how many processes the pod may have; 0 is no limit."""
    if is_unified(root):
        directory = root / parent.lstrip("/")
        _delegate(root, directory)
        _write(directory, unified_settings(pod) | {"pids.max": str(pids or "max")})
        return
    settings_ = settings(pod)
    if pids:
        settings_["pids"] = {"pids.max": str(pids)}
    for controller, files in settings_.items():
        if not (root / controller).is_dir():
            continue
        directory = root / controller / parent.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory, files)


def share_out(parent: str, *, milli: int, burstable: int, root: Path = ROOT) -> None:
    """How the node's processors are divided while all are wanted: `milli` is what all pods together may have, of which
    burstable ones get what they request (`burstable`) and those that request nothing next to nothing. Guaranteed pods
    lie beside these two classes. Upstream: pkg/kubelet/cm/qos_container_manager_linux.go."""
    shares = {"": cpu_shares(milli), "burstable": cpu_shares(burstable), "besteffort": cpu_shares(0)}
    for name, number in shares.items():
        group = f"{parent.lstrip('/')}/{name}".rstrip("/")
        if is_unified(root):
            _delegate(root, root / group)
            _write(root / group, {"cpu.weight": str(weight(number))})
        elif (root / "cpu").is_dir():
            directory = root / "cpu" / group
            directory.mkdir(parents=True, exist_ok=True)
            _write(directory, {"cpu.shares": str(number)})


def bound(parent: str, *, memory: int, pids: int, root: Path = ROOT) -> None:
    """What all pods of the node may use together, so that what is reserved for others is left; 0 is no limit.
    Upstream: pkg/kubelet/cm/node_container_manager_linux.go (enforceNodeAllocatableCgroups)."""
    group = parent.lstrip("/")
    if is_unified(root):
        _delegate(root, root / group)
        _write(root / group, {"memory.max": str(memory or "max"), "pids.max": str(pids or "max")})
        return
    files = {
        "memory": {"memory.limit_in_bytes": str(memory or -1)},
        "pids": {"pids.max": str(pids or "max")},
    }
    for controller, values in files.items():
        if (root / controller).is_dir():
            directory = root / controller / group
            directory.mkdir(parents=True, exist_ok=True)
            _write(directory, values)


def grow(parent: str, before: Object, after: Object, *, root: Path = ROOT) -> None:
    """Set what is more than before; the rest can only follow when those below it have less."""
    if is_unified(root):
        directory = root / parent.lstrip("/")
        _write(directory, _larger(unified_settings(before), unified_settings(after)))
        return
    old = settings(before)
    for controller, files in settings(after).items():
        directory = root / controller / parent.lstrip("/")
        if directory.is_dir():
            _write(directory, _larger(old.get(controller, {}), files))


def _larger(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text for name, text in after.items() if name in before and _number(text) > _number(before[name])
    }


def _number(text: str) -> float:
    first = text.split()[0]
    return float("inf") if first == "max" else float(first)


def is_unified(root: Path = ROOT) -> bool:
    """Whether the machine has version 2 alone."""
    return (root / "cgroup.controllers").exists()


def _delegate(root: Path, directory: Path) -> None:
    """Make the groups down to this one, each handing its controllers to those below it."""
    controllers = (root / "cgroup.controllers").read_text().split()
    directory.mkdir(parents=True, exist_ok=True)
    for group in reversed(list(directory.relative_to(root).parents)):
        for name in controllers:
            with contextlib.suppress(OSError):  # some cannot be handed on everywhere
                (root / group / "cgroup.subtree_control").write_text(f"+{name}")


def _write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        if name.startswith("hugetlb.") and not (directory / name).exists():
            continue  # no pages of that size here
        (directory / name).write_text(text)


def remove(parent: str) -> None:
    """From every hierarchy. Processes that the runtime has lost sight of are killed; a group that has some still then
    stays (and is removed with the pod's next clean-up)."""
    for _ in range(KILL_TRIES):
        left = {pid for hierarchy in _hierarchies() for pid in _processes(hierarchy / parent.lstrip("/"))}
        if not left:
            break
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        threading.Event().wait(KILL_PAUSE)
    for hierarchy in _hierarchies():
        directory = hierarchy / parent.lstrip("/")
        if not directory.is_dir():
            continue
        for child in sorted(directory.rglob("*"), key=lambda p: len(p.parts), reverse=True):
            if child.is_dir():
                _rmdir(child)
        _rmdir(directory)


def _processes(directory: Path) -> set[int]:
    """In this group and below, but for those of other PID namespaces, which have no number here."""
    found = set[int]()
    for file in directory.rglob("cgroup.procs") if directory.is_dir() else ():
        with contextlib.suppress(OSError):
            found |= {int(word) for word in file.read_text().split() if word != "0"}
    return found


def pods_of(root: str) -> set[str]:
    """Uids of pods that have a group below a node's root, from whatever life of the agent."""
    found = set[str]()
    for hierarchy in _hierarchies():
        for qos in ("", "burstable", "besteffort"):
            found |= {p.name.removeprefix("pod") for p in (hierarchy / root.lstrip("/") / qos).glob("pod*")}
    return found


def _hierarchies() -> list[Path]:
    return [ROOT] if is_unified() else list(ROOT.iterdir())


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return

"""What the kernel's files say of pods' use beside what the runtime tells: network, throttling, page cache, processes,
file systems. `read_…` look; the rest is pure.

A pod's interfaces are seen through one of its processes (/proc/PID/net/dev), so nothing has to enter its namespace.
Upstream: pkg/kubelet/stats/cri_stats_provider.go, cAdvisor's metrics/prometheus.go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from timonel.node import cgroups
from timonel.node.agentmetrics import Volume
from timonel.node.cri.runtime import Stats
from timonel.node.figures import labels_of, line
from timonel.objects.meta import format_time
from timonel.records import dataclass

DIRECTIONS = {"receive": "rx", "transmit": "tx"}


@dataclass(frozen=True, slots=True)
class Interface:
    """Since it came up. `rx` and `tx`: bytes, packets, errors, dropped."""

    name: str
    rx: tuple[int, int, int, int]
    tx: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Held:
    """What the group of one container says."""

    processes: int = 0
    cache: int = 0  # bytes of files in memory
    memory_limit: int = 0  # 0: none
    periods: int = 0
    throttled: int = 0  # periods in which it was held back
    throttled_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """A pod and the path of its group below a controller; `has_network`: one of its own."""

    namespace: str
    name: str
    uid: str
    group: str
    has_network: bool


@dataclass(frozen=True, slots=True)
class Disk:
    capacity: int
    available: int
    inodes: int
    inodes_free: int

    @property
    def used(self) -> int:
        return self.capacity - self.available


@dataclass(frozen=True, slots=True)
class Extra:
    """Of all pods, and of the node."""

    networks: Mapping[str, tuple[Interface, ...]]  # by the pod's uid
    counts: Mapping[str, int]  # processes, by the pod's uid
    containers: Mapping[str, Held]  # by id
    node: tuple[Interface, ...]
    disk: Disk
    processes: tuple[int, int]  # how many there are, and may be


def interfaces(text: str) -> tuple[Interface, ...]:
    """Of /proc/net/dev, without the loopback."""
    found = list[Interface]()
    for row in text.splitlines()[2:]:
        name, separator, rest = row.partition(":")
        numbers = [int(word) for word in rest.split()]
        if separator and name.strip() != "lo" and len(numbers) >= 12:
            rx, tx = numbers[:4], numbers[8:12]
            found.append(Interface(name.strip(), (rx[0], rx[1], rx[2], rx[3]), (tx[0], tx[1], tx[2], tx[3])))
    return tuple(found)


def table(text: str) -> dict[str, int]:
    """Lines of a word and a number, as the kernel writes memory.stat and cpu.stat."""
    rows = (row.split() for row in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def held(cpu: Mapping[str, int], memory: Mapping[str, int], limit: str, processes: int) -> Held:
    """From cpu.stat, memory.stat and the limit's file, of either version of groups."""
    seconds = cpu["throttled_usec"] / 1e6 if "throttled_usec" in cpu else cpu.get("throttled_time", 0) / 1e9
    bound = int(limit) if limit.isdigit() and int(limit) < 1 << 62 else 0
    return Held(
        processes=processes,
        cache=memory.get("total_cache", memory.get("file", 0)),
        memory_limit=bound,
        periods=cpu.get("nr_periods", 0),
        throttled=cpu.get("nr_throttled", 0),
        throttled_seconds=seconds,
    )


# ---- reading


def read(places: Iterable[Place], directory: Path, root: Path = cgroups.ROOT) -> Extra:
    """`directory` is on the disk that counts."""
    networks, counts = dict[str, tuple[Interface, ...]](), dict[str, int]()
    containers = dict[str, Held]()
    for place in places:
        pids = list[int]()
        for identity, group in _groups(place.group, root):
            its = [int(pid) for pid in _text(group["cpu"] / "cgroup.procs").split()]
            pids += its
            limit = _text(group["memory"] / "memory.limit_in_bytes") or _text(group["memory"] / "memory.max")
            containers[identity] = held(
                table(_text(group["cpu"] / "cpu.stat")),
                table(_text(group["memory"] / "memory.stat")),
                limit,
                len(its),
            )
        counts[place.uid] = len(pids)
        if place.has_network and pids:
            networks[place.uid] = interfaces(_text(Path(f"/proc/{pids[0]}/net/dev")))
    own = interfaces(_text(Path("/proc/self/net/dev")))
    return Extra(networks, counts, containers, own, read_disk(directory), _processes())


def _groups(group: str, root: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """The groups of a pod's containers, by their ids: the name runc gives them."""
    controllers = (
        {"cpu": "", "memory": ""} if cgroups.is_unified(root) else {"cpu": "cpu", "memory": "memory"}
    )
    places = {name: root / folder / group.lstrip("/") for name, folder in controllers.items()}
    try:
        names = [entry.name for entry in os.scandir(places["cpu"]) if entry.is_dir()]
    except OSError:
        return
    for name in names:
        yield name, {controller: place / name for controller, place in places.items()}


def read_disk(directory: Path) -> Disk:
    s = os.statvfs(directory)
    return Disk(s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize, s.f_files, s.f_ffree)


def _processes() -> tuple[int, int]:
    """How many tasks there are on the machine, and how many there may be."""
    running = _text(Path("/proc/loadavg")).split()
    most = _text(Path("/proc/sys/kernel/pid_max"))
    return int(running[3].partition("/")[2]) if len(running) > 3 else 0, int(most or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


# ---- /stats/summary


Volumes = Mapping[str, Iterable[tuple[str, Volume]]]  # by the pod's uid: names in its spec, and what is there


def with_extra(summary: Mapping[str, Any], extra: Extra, volumes: Volumes, now: float) -> dict[str, Any]:
    """The summary with what else is known."""
    when = format_time(now)
    disk = {
        "time": when,
        "availableBytes": extra.disk.available,
        "capacityBytes": extra.disk.capacity,
        "usedBytes": extra.disk.used,
        "inodesFree": extra.disk.inodes_free,
        "inodes": extra.disk.inodes,
        "inodesUsed": extra.disk.inodes - extra.disk.inodes_free,
    }
    node = {
        **summary["node"],
        "network": _network(extra.node, when),
        "fs": disk,
        "runtime": {"imageFs": disk, "containerFs": disk},
        "rlimit": {"time": when, "maxpid": extra.processes[1], "curproc": extra.processes[0]},
    }
    return {"node": node, "pods": [_pod(pod, extra, volumes, when) for pod in summary["pods"]]}


def _pod(pod: Mapping[str, Any], extra: Extra, volumes: Volumes, when: str) -> dict[str, Any]:
    uid, found = pod["podRef"]["uid"], dict(pod)
    if uid in extra.networks:
        found["network"] = _network(extra.networks[uid], when)
    shown = [_volume(name, v, when) for name, v in volumes.get(uid, ())]
    if shown:
        found["volume"] = shown
    if uid in extra.counts:
        found["process_stats"] = {"process_count": extra.counts[uid]}
    return found


def _volume(name: str, v: Volume, when: str) -> dict[str, Any]:
    return {
        "time": when,
        "availableBytes": v.available,
        "capacityBytes": v.capacity,
        "usedBytes": v.used,
        "inodesFree": v.inodes_free,
        "inodes": v.inodes,
        "inodesUsed": v.inodes - v.inodes_free,
        "name": name,
        "pvcRef": {"name": v.claim, "namespace": v.namespace},
    }


def _network(found: Iterable[Interface], when: str) -> dict[str, Any]:
    shown = [
        {"name": i.name, "rxBytes": i.rx[0], "rxErrors": i.rx[2], "txBytes": i.tx[0], "txErrors": i.tx[2]}
        for i in found
    ]
    first = next((i for i in shown if i["name"] == "eth0"), shown[0] if shown else {})
    return {"time": when, **first, "interfaces": shown}


# ---- /metrics/cadvisor

_NETWORK = ("bytes", "packets", "errors", "packets_dropped")
_CONTAINER: tuple[tuple[str, str, str, Callable[[Held], float]], ...] = (
    ("container_processes", "gauge", "Number of processes running inside the container.", lambda h: h.processes),
    ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", lambda h: h.cache),
    ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", lambda h: h.memory_limit),
    ("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.",
     lambda h: h.periods),
    ("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.",
     lambda h: h.throttled),
    ("container_cpu_cfs_throttled_seconds_total", "counter",
     "Total time duration the container has been throttled.", lambda h: h.throttled_seconds),
)  # fmt: skip


def cadvisor_lines(stats: Iterable[Stats], places: Iterable[Place], extra: Extra) -> Iterator[str]:
    """Beside what `figures.cadvisor_metrics` tells of the same containers."""
    labelled = [
        (labels_of(s), extra.containers[s.container_id]) for s in stats if s.container_id in extra.containers
    ]
    for name, kind, help_, value in _CONTAINER:
        yield from (f"# HELP {name} {help_}", f"# TYPE {name} {kind}")
        yield from (line(name, value(found), labels) for labels, found in labelled)
    known = [place for place in places if place.uid in extra.networks]
    for direction, side in DIRECTIONS.items():
        for index, what in enumerate(_NETWORK):
            name = f"container_network_{direction}_{what}_total"
            yield from (f"# HELP {name} Cumulative count of {what} ({direction}).", f"# TYPE {name} counter")
            for place in known:
                for interface in extra.networks[place.uid]:
                    yield line(name, getattr(interface, side)[index], _whose(place, interface))


def _whose(place: Place, interface: Interface) -> dict[str, str]:
    return {
        "container": "",
        "id": f"/kubepods/pod{place.uid}",
        "interface": interface.name,
        "namespace": place.namespace,
        "pod": place.name,
    }

"""What the agent tells about resource use: /stats/summary, /metrics/resource, /metrics/cadvisor. Rendering is pure.

Upstream: pkg/kubelet/server/stats, pkg/kubelet/metrics/collectors/resource_metrics.go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.node.cri.runtime import Stats
from timonel.node.podruntime import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID
from timonel.objects.meta import Object, format_time
from timonel.records import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the whole machine."""

    cpu_seconds: float
    memory: int
    memory_available: int
    nano_cores: int | None = None  # the present rate, where it is known


def read_usage() -> Usage:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    busy = sum(fields[:8]) - fields[3] - fields[4]  # less idle and iowait
    memory = dict[str, int]()
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024
    available = memory.get("MemAvailable", 0)
    return Usage(busy / ticks, memory.get("MemTotal", 0) - available, available)


def simulated_usage(stats: Iterable[Stats]) -> Usage:
    """Of a machine that is not there: what its containers use, and a room of 32 GiB."""
    running = list(stats)
    memory = sum(s.memory_working_set for s in running)
    return Usage(
        sum(s.cpu_nanoseconds for s in running) / NANO,
        memory,
        max((32 << 30) - memory, 0),
        _sum(s.nano_cores for s in running),
    )


def _by_pod(stats: Iterable[Stats]) -> dict[tuple[str, str, str], list[Stats]]:
    found = dict[tuple[str, str, str], list[Stats]]()
    for s in stats:
        if POD_UID in s.labels:
            key = (s.labels[POD_NAMESPACE], s.labels[POD_NAME], s.labels[POD_UID])
            found.setdefault(key, []).append(s)
    return found


def summary(node: Object, stats: Sequence[Stats], usage: Usage, now: float) -> dict[str, Any]:
    when = format_time(now)
    pods = [
        {
            "podRef": {"name": name, "namespace": namespace, "uid": uid},
            "startTime": format_time(min(s.time for s in group)),
            "containers": [_container(s) for s in group],
            "cpu": _cpu(when, sum(s.cpu_nanoseconds for s in group), _sum(s.nano_cores for s in group)),
            "memory": {
                "time": when,
                "usageBytes": sum(s.memory_usage for s in group),
                "workingSetBytes": sum(s.memory_working_set for s in group),
                "rssBytes": sum(s.memory_rss for s in group),
            },
        }
        for (namespace, name, uid), group in _by_pod(stats).items()
    ]
    return {
        "node": {
            "nodeName": node["metadata"]["name"],
            "startTime": node["metadata"].get("creationTimestamp"),
            "cpu": _cpu(when, int(usage.cpu_seconds * NANO), usage.nano_cores),
            "memory": {
                "time": when,
                "availableBytes": usage.memory_available,
                "usageBytes": usage.memory,
                "workingSetBytes": usage.memory,
            },
        },
        "pods": pods,
    }


def _cpu(when: str, spent: int, rate: int | None) -> dict[str, Any]:
    rated = {} if rate is None else {"usageNanoCores": rate}
    return {"time": when, **rated, "usageCoreNanoSeconds": spent}


def _sum(rates: Iterable[int | None]) -> int | None:
    """None if one of them is unknown."""
    known = list(rates)
    return sum(rate or 0 for rate in known) if None not in known else None


def _container(s: Stats) -> dict[str, Any]:
    when = format_time(s.time)
    return {
        "name": s.labels.get(CONTAINER_NAME, ""),
        "startTime": when,
        "cpu": _cpu(when, s.cpu_nanoseconds, s.nano_cores),
        "memory": {
            "time": when,
            "usageBytes": s.memory_usage,
            "workingSetBytes": s.memory_working_set,
            "rssBytes": s.memory_rss,
        },
        "rootfs": {"time": when, "usedBytes": s.disk_used},
    }


def line(name: str, value: float, labels: Mapping[str, str] | None = None) -> str:
    text = ",".join(f'{k}="{v}"' for k, v in (labels or {}).items())
    shown = str(value)  # whole: six digits are not enough for bytes and counters
    return f"{name}{{{text}}} {shown}" if text else f"{name} {shown}"


def family(name: str, kind: str, help_: str, lines: Iterable[str], stability: str = "STABLE") -> list[str]:
    return [f"# HELP {name} [{stability}] {help_}", f"# TYPE {name} {kind}", *lines]


def resource_metrics(stats: Sequence[Stats], usage: Usage, now: float) -> str:
    cpu, memory = list[str](), list[str]()
    pod_cpu, pod_memory = list[str](), list[str]()
    for (namespace, name, _), group in _by_pod(stats).items():
        pod = {"namespace": namespace, "pod": name}
        for s in group:
            labels = {"container": s.labels.get(CONTAINER_NAME, ""), **pod}
            cpu.append(line("container_cpu_usage_seconds_total", s.cpu_nanoseconds / NANO, labels))
            memory.append(line("container_memory_working_set_bytes", s.memory_working_set, labels))
        pod_cpu.append(line("pod_cpu_usage_seconds_total", sum(s.cpu_nanoseconds for s in group) / NANO, pod))
        pod_memory.append(line("pod_memory_working_set_bytes", sum(s.memory_working_set for s in group), pod))
    node_cpu = [line("node_cpu_usage_seconds_total", usage.cpu_seconds)]
    node_memory = [line("node_memory_working_set_bytes", usage.memory)]
    seconds, size = "Cumulative cpu time consumed in core-seconds", "Current working set in bytes"
    lines = [
        *family("container_cpu_usage_seconds_total", "counter", f"{seconds} by the container", cpu),
        *family("container_memory_working_set_bytes", "gauge", f"{size} of the container", memory),
        *family("node_cpu_usage_seconds_total", "counter", f"{seconds} by the node", node_cpu),
        *family("node_memory_working_set_bytes", "gauge", f"{size} of the node", node_memory),
        *family("pod_cpu_usage_seconds_total", "counter", f"{seconds} by the pod", pod_cpu),
        *family("pod_memory_working_set_bytes", "gauge", f"{size} of the pod", pod_memory),
    ]
    return "\n".join(lines) + "\n"


def labels_of(s: Stats) -> dict[str, str]:
    """As cAdvisor names a container."""
    return {
        "container": s.labels.get(CONTAINER_NAME, ""),
        "id": f"/kubepods/pod{s.labels.get(POD_UID, '')}/{s.container_id}",
        "name": s.container_id,
        "namespace": s.labels.get(POD_NAMESPACE, ""),
        "pod": s.labels.get(POD_NAME, ""),
    }


def cadvisor_metrics(stats: Sequence[Stats], usage: Usage, cores: int) -> str:
    """What cAdvisor says of containers, as far as a CRI runtime tells it."""
    by_name: dict[str, list[str]] = {name: [] for name in _CADVISOR}
    for group in _by_pod(stats).values():
        for s in group:
            labels = labels_of(s)
            values = (
                s.cpu_nanoseconds / NANO,
                s.memory_usage,
                s.memory_working_set,
                s.memory_rss,
                s.disk_used,
            )
            for name, value in zip(_CADVISOR, values, strict=True):
                by_name[name].append(line(name, value, labels))
    lines = [
        line
        for name, (kind, help_) in _CADVISOR.items()
        for line in (f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *by_name[name])
    ]
    machine = {
        "machine_cpu_cores": ("Number of logical CPU cores.", cores),
        "machine_memory_bytes": (
            "Amount of memory installed on the machine.",
            usage.memory + usage.memory_available,
        ),
    }
    for name, (help_, value) in machine.items():
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge", line(name, value)]
    return "\n".join(lines) + "\n"


_CADVISOR = {
    "container_cpu_usage_seconds_total": ("counter", "Cumulative cpu time consumed in seconds."),
    "container_memory_usage_bytes": ("gauge", "Current memory usage in bytes, including all memory."),
    "container_memory_working_set_bytes": ("gauge", "Current working set in bytes."),
    "container_memory_rss": ("gauge", "Size of RSS in bytes."),
    "container_fs_usage_bytes": (
        "gauge",
        "Number of bytes that are consumed by the container on its filesystem.",
    ),
}

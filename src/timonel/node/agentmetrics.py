"""`/metrics` and `/metrics/probes` of the agent, as text. Rendering is pure; `read_process` and `read_volumes` look.

Upstream: pkg/kubelet/metrics/metrics.go, pkg/kubelet/metrics/collectors/volume_stats.go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from timonel.aio.histogram import Histogram
from timonel.node.cri.runtime import ContainerState
from timonel.node.figures import family, line
from timonel.node.manifests import is_static
from timonel.node.measures import Measures
from timonel.node.references import claim_name
from timonel.objects.meta import Object
from timonel.records import dataclass

if TYPE_CHECKING:
    from timonel.node.podrunner import PodRunner

ALPHA = "ALPHA"
PROBE_LABELS = ("pod_uid", "namespace", "pod", "container", "probe_type")
TITLES = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}


@dataclass(frozen=True, slots=True)
class Volume:
    """What is on a claim's volume: bytes and inodes."""

    namespace: str
    claim: str
    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int


def claims(runners: Iterable[PodRunner]) -> list[tuple[str, str, str]]:
    """Namespace, claim and path of all claims' volumes that pods have now, each once."""
    found = {entry[:2]: entry for runner in runners for entry in claims_of(runner).values()}
    return list(found.values())


def claims_of(runner: PodRunner) -> dict[str, tuple[str, str, str]]:
    """The same of one pod, by the volumes' names in its spec."""
    found = dict[str, tuple[str, str, str]]()
    for volume in runner.pod["spec"].get("volumes") or ():
        claim, path = claim_name(runner.pod, volume), runner.volume_paths.get(volume["name"])
        if claim is not None and path is not None:
            found[volume["name"]] = (runner.pod["metadata"]["namespace"], claim, path)
    return found


def read_volumes(found: Iterable[tuple[str, str, str]]) -> list[Volume]:
    return [volume for entry in found if (volume := read_volume(*entry)) is not None]


def read_volume(namespace: str, claim: str, path: str) -> Volume | None:
    """None of one that is no file system, or was just taken down."""
    try:
        if not os.path.isdir(path):
            return None
        s = os.statvfs(path)
    except OSError:
        return None
    size = s.f_frsize
    return Volume(
        namespace, claim, s.f_blocks * size, s.f_bavail * size, (s.f_blocks - s.f_bfree) * size, s.f_files, s.f_ffree
    )  # fmt: skip


def read_process() -> dict[str, float]:
    """Of the agent itself, in the names that Prometheus' clients use."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    boot = next(
        int(row.split()[1]) for row in Path("/proc/stat").read_text().splitlines() if row.startswith("btime")
    )
    return {
        "process_cpu_seconds_total": (int(fields[11]) + int(fields[12])) / ticks,
        "process_open_fds": len(os.listdir("/proc/self/fd")),
        "process_resident_memory_bytes": int(fields[21]) * page,
        "process_start_time_seconds": boot + int(fields[19]) / ticks,
        "process_virtual_memory_bytes": int(fields[20]),
    }


_PROCESS_HELP = {
    "process_cpu_seconds_total": ("counter", "Total user and system CPU time spent in seconds."),
    "process_open_fds": ("gauge", "Number of open file descriptors."),
    "process_resident_memory_bytes": ("gauge", "Resident memory size in bytes."),
    "process_start_time_seconds": ("gauge", "Start time of the process since unix epoch in seconds."),
    "process_virtual_memory_bytes": ("gauge", "Virtual memory size in bytes."),
}


def agent_metrics(
    runners: Iterable[PodRunner],
    node: Object,
    measures: Measures,
    volumes: Sequence[Volume] = (),
    process: Mapping[str, float] | None = None,
    shutdown: tuple[float, float] = (0.0, 0.0),
) -> str:
    """`shutdown`: when the last graceful one began and ended."""
    lines = [
        *_pods(list(runners), node),
        *_work(measures),
        *_volumes(volumes),
        *_shutdown(*shutdown),
    ]
    for name, value in (process or {}).items():
        kind, help_ = _PROCESS_HELP[name]
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", line(name, value)]
    return "\n".join(lines) + "\n"


def _pods(pods: Sequence[PodRunner], node: Object) -> Iterator[str]:
    states = dict.fromkeys((s.value for s in ContainerState), 0)
    for runner in pods:
        for container in runner.runtime.containers:
            states[container.state.value] += 1
    counts = [
        line("kubelet_running_containers", n, {"container_state": state}) for state, n in states.items()
    ]
    active = [runner for runner in pods if not runner.is_finished]
    named = [line("kubelet_node_name", 1, {"node": node["metadata"]["name"]})]
    yield from family("kubelet_node_name", "gauge", "The node's name", named, ALPHA)
    for name, help_, found in (
        ("kubelet_desired_pods", "The number of pods the kubelet is being instructed to run", pods),
        ("kubelet_active_pods", "The number of pods the kubelet considers active", active),
    ):
        static = sum(is_static(runner.pod) for runner in found)
        both = {"": len(found) - static, "true": static}
        rows = [line(name, count, {"static": text}) for text, count in both.items()]
        yield from family(name, "gauge", help_, rows, ALPHA)
    running = line("kubelet_running_pods", sum(r.runtime.is_ready for r in pods))
    yield from family(
        "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox", [running], ALPHA
    )
    yield from family("kubelet_running_containers", "gauge", "Number of containers by state", counts, ALPHA)


def _work(measures: Measures) -> Iterator[str]:
    kinds = measures.operations
    name = "kubelet_runtime_operations"
    total = [line(f"{name}_total", h.count, {"operation_type": kind}) for kind, h in sorted(kinds.items())]
    yield from family(
        f"{name}_total", "counter", "Cumulative number of runtime operations by operation type.", total, ALPHA
    )
    failed = [
        line(f"{name}_errors_total", n, {"operation_type": kind})
        for kind, n in sorted(measures.failed_operations.items())
    ]
    yield from family(
        f"{name}_errors_total",
        "counter",
        "Cumulative number of runtime operation errors by operation type.",
        failed,
        ALPHA,
    )
    spent = [
        row
        for kind, h in sorted(kinds.items())
        for row in histogram(f"{name}_duration_seconds", h, {"operation_type": kind})
    ]
    yield from family(
        f"{name}_duration_seconds",
        "histogram",
        "Duration in seconds of runtime operations. Broken down by operation type.",
        spent,
        ALPHA,
    )
    yield from family(
        "kubelet_pod_start_duration_seconds",
        "histogram",
        "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
        histogram("kubelet_pod_start_duration_seconds", measures.starts, {}),
        ALPHA,
    )
    pulls = [
        row
        for size, h in sorted(measures.pulls.items())
        for row in histogram("kubelet_image_pull_duration_seconds", h, {"image_size_in_bytes": size})
    ]
    yield from family(
        "kubelet_image_pull_duration_seconds",
        "histogram",
        "Duration in seconds to pull an image.",
        pulls,
        ALPHA,
    )
    for name, help_, count in (
        ("kubelet_started_pods_total", "Cumulative number of pods started", measures.started_pods),
        (
            "kubelet_started_pods_errors_total",
            "Cumulative number of errors when starting pods",
            measures.failed_pods,
        ),
    ):
        yield from family(name, "counter", help_, [line(name, count)], ALPHA)
    started = [
        line("kubelet_started_containers_total", n, {"container_type": kind})
        for kind, n in sorted(measures.started_containers.items())
    ]
    yield from family(
        "kubelet_started_containers_total",
        "counter",
        "Cumulative number of containers started",
        started,
        ALPHA,
    )
    errors = [
        line("kubelet_started_containers_errors_total", n, {"code": code, "container_type": kind})
        for (kind, code), n in sorted(measures.failed_containers.items())
    ]
    yield from family(
        "kubelet_started_containers_errors_total",
        "counter",
        "Cumulative number of errors when starting containers",
        errors,
        ALPHA,
    )
    evicted = [
        line("kubelet_evictions", n, {"eviction_signal": signal})
        for signal, n in sorted(measures.evictions.items())
    ]
    yield from family(
        "kubelet_evictions",
        "counter",
        "Cumulative number of pod evictions by eviction signal",
        evicted,
        ALPHA,
    )


_VOLUME_STATS: tuple[tuple[str, str, Callable[[Volume], int]], ...] = (
    ("capacity_bytes", "Capacity in bytes of the volume", lambda v: v.capacity),
    ("available_bytes", "Number of available bytes in the volume", lambda v: v.available),
    ("used_bytes", "Number of used bytes in the volume", lambda v: v.used),
    ("inodes", "Maximum number of inodes in the volume", lambda v: v.inodes),
    ("inodes_free", "Number of free inodes in the volume", lambda v: v.inodes_free),
    ("inodes_used", "Number of used inodes in the volume", lambda v: v.inodes - v.inodes_free),
)


def _volumes(volumes: Sequence[Volume]) -> Iterator[str]:
    for name, help_, value in _VOLUME_STATS:
        full = f"kubelet_volume_stats_{name}"
        rows = [
            line(full, value(v), {"namespace": v.namespace, "persistentvolumeclaim": v.claim})
            for v in volumes
        ]
        yield from family(full, "gauge", help_, rows, ALPHA)


def _shutdown(began: float, ended: float) -> Iterator[str]:
    for which, value in (("start", began), ("end", ended)):
        name = f"kubelet_graceful_shutdown_{which}_time_seconds"
        help_ = f"Last graceful shutdown {which} time since unix epoch in seconds"
        yield from family(name, "gauge", help_, [line(name, value)], ALPHA)


def probe_metrics(measures: Measures) -> str:
    total = [
        line("prober_probe_total", n, _probe_labels(key[:5]) | {"result": key[5]})
        for key, n in sorted(measures.probes.items())
    ]
    spent = [
        row
        for key, h in sorted(measures.probe_seconds.items())
        for row in histogram("prober_probe_duration_seconds", h, _probe_labels(key))
    ]
    counted = "Cumulative number of a liveness, readiness or startup probe for a container by result."
    lines = [
        *family("prober_probe_total", "counter", counted, total, "BETA"),
        *family(
            "prober_probe_duration_seconds",
            "histogram",
            "Duration in seconds for a probe response.",
            spent,
            ALPHA,
        ),
    ]
    return "\n".join(lines) + "\n"


def _probe_labels(key: tuple[str, ...]) -> dict[str, str]:
    labels = dict(zip(PROBE_LABELS, key, strict=True))
    labels["probe_type"] = TITLES[labels["probe_type"]]
    return dict(sorted(labels.items()))


def histogram(name: str, found: Histogram, labels: Mapping[str, str]) -> Iterator[str]:
    seen = 0
    for bound, count in zip(found.bounds, found.counts, strict=False):
        seen += count
        yield line(f"{name}_bucket", seen, {**labels, "le": f"{bound:.10g}"})
    yield line(f"{name}_bucket", found.count, {**labels, "le": "+Inf"})
    yield line(f"{name}_sum", found.sum, labels)
    yield line(f"{name}_count", found.count, labels)

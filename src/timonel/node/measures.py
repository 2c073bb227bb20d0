"""What the agent counts about its own work, in plain numbers; `agentmetrics` shows them. No I/O.

Upstream: pkg/kubelet/metrics/metrics.go, pkg/kubelet/prober/prober_manager.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from timonel.aio.histogram import Histogram
from timonel.objects.meta import Object, uid_of

SUCCESSFUL, FAILED, UNKNOWN = "successful", "failed", "unknown"
OPERATIONS = tuple(0.005 * 2.5**power for power in range(14))
STARTS = (
    0.5,
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    20,
    30,
    45,
    60,
    120,
    180,
    240,
    300,
    360,
    480,
    600,
    900,
    1200,
    1800,
    2700,
    3600,
)
PULLS = (1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600)
PROBES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = ((10, "0-10MB"), (100, "10MB-100MB"), (500, "100MB-500MB"), (1024, "500MB-1GB"), (5120, "1GB-5GB"),
         (10240, "5GB-10GB"), (20480, "10GB-20GB"), (30720, "20GB-30GB"), (40960, "30GB-40GB"),
         (61440, "40GB-60GB"), (102400, "60GB-100GB"))  # fmt: skip


class Counters(dict[Any, int]):
    def __missing__(self, key: Any) -> int:
        return 0


class Histograms(dict[Any, Histogram]):
    """One for each set of labels that was seen."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds

    def __missing__(self, key: Any) -> Histogram:
        found = self[key] = Histogram(self._bounds)
        return found


class Measures:
    """`watch` is a stopwatch in seconds of real time; the one of tests stands still."""

    def __init__(self, watch: Callable[[], float] = lambda: 0.0) -> None:
        self.watch = watch
        self.operations = Histograms(OPERATIONS)  # by type of operation of the runtime
        self.failed_operations = Counters()
        self.probes = Counters()  # by pod uid, namespace, pod, container, kind, result
        self.probe_seconds = Histograms(PROBES)  # by pod uid, namespace, pod, container, kind
        self.starts = Histogram(STARTS)  # from when a pod was first seen until it ran
        self.pulls = Histograms(PULLS)  # by size of the image
        self.started_pods = self.failed_pods = 0
        self.started_containers = Counters()  # by type
        self.failed_containers = Counters()  # by type and code
        self.evictions = Counters()  # by signal

    def operation(self, kind: str, since: float, *, failed: bool) -> None:
        self.operations[kind].add(self.watch() - since)
        if failed:
            self.failed_operations[kind] += 1

    def probe(self, pod: Object, container: str, kind: str, result: str, seconds: float) -> None:
        meta = pod["metadata"]
        whose = (uid_of(pod), meta["namespace"], meta["name"], container, kind)
        self.probes[*whose, result] += 1
        if result != UNKNOWN:
            self.probe_seconds[whose].add(seconds)

    def forget_pod(self, uid: str) -> None:
        """Its probes are over; their counts would only grow in number."""
        for counts in (self.probes, self.probe_seconds):
            for key in [key for key in counts if key[0] == uid]:
                del counts[key]

    def pulled(self, size: int, seconds: float) -> None:
        self.pulls[size_of(size)].add(seconds)


def size_of(size: int) -> str:
    """The label of an image of so many bytes."""
    mega = size >> 20
    return next((label for limit, label in SIZES if mega < limit), "GT100GB")


def container_type(pod: Object, name: str) -> str:
    return next((kind for kind, found in _typed(pod) if found == name), "container")


def _typed(pod: Object) -> Iterator[tuple[str, str]]:
    spec = pod["spec"]
    for kind, field in (("init_container", "initContainers"), ("ephemeral_container", "ephemeralContainers")):
        for container in spec.get(field) or ():
            yield kind, container["name"]

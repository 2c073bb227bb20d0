"""What a node's /stats/summary says, and NodeMetrics and PodMetrics made of it. Pure.

A rate of processor time needs two looks; where an agent tells the rate itself, one is enough. A container that was not
there at the first of two looks is told with its average since it started.

Upstream: metrics-server pkg/storage, pkg/api/{node,pod}.go; k8s.io/metrics pkg/apis/metrics/v1beta1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from timonel.machinery import durations
from timonel.objects.meta import Object, format_time, parse_time
from timonel.records import dataclass

API_VERSION = "metrics.k8s.io/v1beta1"
NANO = 1_000_000_000
OWN_WINDOW = 10.0  # seconds over which an agent's own figure is the average
SHORTEST = 0.1  # seconds between two looks whose difference says something


@dataclass(frozen=True, slots=True)
class Point:
    """Of a container or a node, at one time."""

    time: float
    started: float
    cpu_nanoseconds: int
    memory: int
    nano_cores: int | None = None  # the agent's own figure


@dataclass(frozen=True, slots=True)
class Look:
    """At one node. `pods`: (namespace, name) -> container -> Point."""

    node: Point
    pods: Mapping[tuple[str, str], Mapping[str, Point]] = field(default_factory=dict)

    @property
    def has_rates(self) -> bool:
        """Whether no second look is needed."""
        return self.node.nano_cores is not None and all(
            p.nano_cores is not None for points in self.pods.values() for p in points.values()
        )


@dataclass(frozen=True, slots=True)
class Rate:
    nano_cores: int
    memory: int
    time: float
    window: float  # seconds


def look(summary: Mapping[str, Any]) -> Look:
    """Raises KeyError, TypeError or ValueError for what is no summary."""
    pods = {
        (pod["podRef"]["namespace"], pod["podRef"]["name"]): {
            container["name"]: _point(container) for container in pod.get("containers") or ()
        }
        for pod in summary.get("pods") or ()
    }
    return Look(_point(summary["node"]), pods)


def _point(told: Mapping[str, Any]) -> Point:
    cpu, memory = told["cpu"], told["memory"]
    time = parse_time(cpu["time"])
    if time is None:
        raise ValueError(f"no time: {cpu['time']}")
    rate = cpu.get("usageNanoCores")
    return Point(
        time,
        parse_time(told.get("startTime")) or time,
        int(cpu["usageCoreNanoSeconds"]),
        int(memory["workingSetBytes"]),
        int(rate) if rate is not None else None,
    )


def rate(latest: Point, before: Point | None, between: float) -> Rate:
    """`before` is of a look at the same thing, or at one that has been replaced since, `between` seconds earlier.

    Summaries tell times to the second, which is too coarse for looks that are close together.
    """
    if latest.nano_cores is not None:
        return Rate(latest.nano_cores, latest.memory, latest.time, OWN_WINDOW)
    window, spent = latest.time - latest.started, latest.cpu_nanoseconds
    if before is not None and before.cpu_nanoseconds <= spent:
        window, spent = between, spent - before.cpu_nanoseconds
    if window < SHORTEST:
        return Rate(0, latest.memory, latest.time, max(window, 0.0))
    return Rate(int(spent / window), latest.memory, latest.time, window)


def quantities(found: Rate) -> dict[str, str]:
    """As the kubelet's figures are told: nanocores, kibibytes."""
    return {
        "cpu": f"{found.nano_cores}n" if found.nano_cores else "0",
        "memory": f"{found.memory // 1024}Ki" if found.memory >= 1024 else str(found.memory),
    }


def node_metrics(node: Object, latest: Look, before: Look | None, between: float) -> Object:
    found = rate(latest.node, before.node if before is not None else None, between)
    return _metrics("NodeMetrics", node, [found]) | {"usage": quantities(found)}


def pod_metrics(pod: Object, latest: Look, before: Look | None, between: float) -> Object | None:
    """None as long as a container of the pod has not been seen running."""
    metadata = pod["metadata"]
    key = (metadata["namespace"], metadata["name"])
    points, earlier = latest.pods.get(key), (before.pods.get(key) if before is not None else None) or {}
    running = list(_running(pod))
    if not points or not running or any(name not in points for name in running):
        return None
    rates = {name: rate(points[name], earlier.get(name), between) for name in running}
    return _metrics("PodMetrics", pod, list(rates.values())) | {
        "containers": [{"name": name, "usage": quantities(found)} for name, found in rates.items()]
    }


def _running(pod: Object) -> Iterator[str]:
    """The containers, and those that run beside them for as long as the pod lives."""
    spec = pod["spec"]
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            yield container["name"]
    status = {
        s["name"]: s.get("state") or {} for s in (pod.get("status") or {}).get("containerStatuses") or ()
    }
    for container in spec["containers"]:
        if "terminated" not in status.get(container["name"], {}):
            yield container["name"]


def _metrics(kind: str, about: Object, rates: Sequence[Rate]) -> Object:
    metadata = about["metadata"]
    time = min(found.time for found in rates)
    kept = ("name", "namespace", "labels", "creationTimestamp")
    return {
        "kind": kind,
        "apiVersion": API_VERSION,
        "metadata": {k: metadata[k] for k in kept if metadata.get(k)}
        | {"creationTimestamp": format_time(time)},
        "timestamp": format_time(time),
        "window": durations.shown(max(found.window for found in rates)),
    }

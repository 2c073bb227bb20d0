"""What a control plane (API server, controllers, scheduler: one process) keeps resident."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import pods
from benchmarks.clusters import CONTROL_PLANE, fresh, idle_wait, resident
from benchmarks.figure import Benchmark, Figure

STORED = 5_000


def memory() -> Sequence[Figure]:
    with fresh(components=CONTROL_PLANE) as cluster:
        idle_wait(3.0)
        idle = resident(cluster.server)
        pods.create(cluster, STORED)
        idle_wait(3.0)
        full = resident(cluster.server)
    each = (full - idle) * 1000 / STORED
    return [
        Figure("memory of an idle control plane", 100, "MB", idle),
        Figure(
            f"memory with {STORED:,} pods stored", 250, "MB", full, f"{each:.1f} kB per pod, unschedulable"
        ),
    ]


BENCHMARKS = (Benchmark("memory", memory),)

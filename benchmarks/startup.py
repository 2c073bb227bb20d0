"""`timonel up` until there is a ready node: simulated, and with containers on a machine that has them already."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.clusters import delete, folder, up
from benchmarks.figure import Benchmark, Figure
from timonel.distro import host

ROUNDS = 5


def simulated() -> Sequence[Figure]:
    with folder() as data_dir:
        times = []
        for _ in range(ROUNDS + 1):
            with up(data_dir) as cluster:
                times.append(cluster.seconds)
    note = f"median of {ROUNDS}; the very first, with new keys: {times[0]:.2f} s"
    return [Figure("timonel up, simulated node ready", 1.0, "s", statistics.median(times[1:]), note)]


def containers() -> Sequence[Figure]:
    with folder() as data_dir:
        times = []
        try:
            for _ in range(3):
                with up(data_dir, runtime="containerd") as cluster:
                    times.append(cluster.seconds)
        finally:
            delete(data_dir)
    note = f"second start, best of 2 and {max(times[1:]):.2f}; the first: {times[0]:.2f} s"
    return [Figure("timonel up, containers, node ready", 1.5, "s", min(times[1:]), note)]


def no_containers() -> str:
    """Why real containers cannot run here, if they cannot."""
    missing = host.missing_for_containers()
    return f"{missing[0].check}: {missing[0].detail}" if missing else ""


BENCHMARKS = (Benchmark("up", simulated), Benchmark("up-containers", containers, no_containers))

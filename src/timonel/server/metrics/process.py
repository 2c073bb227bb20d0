"""The process itself, as the kernel sees it. Upstream: prometheus/client_golang, process_collector_linux.go."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from timonel.server.metrics.text import COUNTER, GAUGE, Family, one

STAT, UPTIME = Path("/proc/self/stat"), Path("/proc/stat")


def families() -> Iterator[Family]:
    """Nothing where there is no /proc."""
    try:
        fields = STAT.read_text().rpartition(")")[2].split()
        booted = next(
            float(line.split()[1]) for line in UPTIME.read_text().splitlines() if line.startswith("btime")
        )
        files = len(os.listdir("/proc/self/fd"))
    except (OSError, StopIteration):
        return
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    for name, kind, text, value in (
        ("cpu_seconds_total", COUNTER, "Total user and system CPU time spent in seconds.",
         (int(fields[11]) + int(fields[12])) / ticks),
        ("start_time_seconds", GAUGE, "Start time of the process since unix epoch in seconds.",
         booted + int(fields[19]) / ticks),
        ("virtual_memory_bytes", GAUGE, "Virtual memory size in bytes.", float(fields[20])),
        ("virtual_memory_max_bytes", GAUGE, "Maximum amount of virtual memory available in bytes.",
         float(space if space >= 0 else 2**64 - 1)),
        ("resident_memory_bytes", GAUGE, "Resident memory size in bytes.", float(int(fields[21]) * page)),
        ("open_fds", GAUGE, "Number of open file descriptors.", float(files)),
        ("max_fds", GAUGE, "Maximum number of open file descriptors.", float(most_files)),
    ):  # fmt: skip
        yield Family(f"process_{name}", kind, text, one(value), stability="ALPHA")


def build(version: dict[str, str]) -> Family:
    names = (
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
    )
    spelled = (
        "major",
        "minor",
        "git_version",
        "git_commit",
        "git_tree_state",
        "build_date",
        "go_version",
        "compiler",
    )
    labels = tuple((s, str(version.get(n, ""))) for n, s in zip(names, spelled, strict=True))
    return Family(
        "kubernetes_build_info",
        GAUGE,
        "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build "
        "date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
        (((*labels, ("platform", sys.platform)), 1.0),),
    )

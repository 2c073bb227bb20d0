"""Runs the benchmarks and prints one table: figure, target, measured here, ratio (above 1: better than the target)."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys

from benchmarks import (
    containers,
    custom_resources,
    fairness,
    memory,
    network,
    node,
    requests,
    scheduling,
    simulation,
    startup,
    workloads,
)
from benchmarks.apiserver.__main__ import main as api_server
from benchmarks.figure import Figure, table

ALL = (
    *startup.BENCHMARKS,
    *memory.BENCHMARKS,
    *requests.BENCHMARKS,
    *workloads.BENCHMARKS,
    *scheduling.BENCHMARKS,
    *simulation.BENCHMARKS,
    *fairness.BENCHMARKS,
    *custom_resources.BENCHMARKS,
    *containers.BENCHMARKS,
    *node.BENCHMARKS,
    *network.BENCHMARKS,
)


def main() -> None:
    if sys.argv[1:2] == ["apiserver"]:  # has a table of its own
        api_server(sys.argv[2:])
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    names = [benchmark.name for benchmark in ALL]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="one of them; may be given again")
    wanted = parser.parse_args().only or names
    figures: list[Figure] = []
    for benchmark in ALL:
        if benchmark.name not in wanted:
            continue
        if why := benchmark.skip():
            print(f"left out: {benchmark.name} ({why})", file=sys.stderr)
            continue
        print(f"==> {benchmark.name}", file=sys.stderr, flush=True)
        try:
            figures += benchmark.measure()
        except Exception as error:
            print(f"error: {benchmark.name}: {error!r}", file=sys.stderr)
    load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    print(f"{os.cpu_count()} processors, Python {platform.python_version()}, load {load}\n")
    print(table(figures))


if __name__ == "__main__":
    main()

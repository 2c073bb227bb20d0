"""Runs the rows and prints one table, and the command of each row below it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from pathlib import Path

if not __package__:  # run as a folder: `python benchmarks/apiserver`
    sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.apiserver import stored, traffic, watches
from benchmarks.apiserver.row import Result, Scale, commands, table

ROWS = (*traffic.ROWS, *watches.ROWS, *stored.ROWS)


def measured(names: list[str], scale: Scale) -> tuple[list[Result], bool]:
    """What could be measured, and whether all of it was."""
    results: list[Result] = []
    complete = True
    for row in ROWS:
        if row.name not in names:
            continue
        if why := row.skip():
            print(f"left out: {row.name} ({why})", file=sys.stderr)
            complete = False
            continue
        print(f"==> {row.name}", file=sys.stderr, flush=True)
        try:
            results += row.measure(scale)
        except Exception as error:
            print(f"error: {row.name}: {error!r}", file=sys.stderr)
            complete = False
    return results, complete


def main(arguments: list[str] | None = None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="scripts/bench apiserver", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="one of them; may be given again")
    parser.add_argument("--quick", action="store_true", help="a tenth of the watchers and objects, less time")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    asked = parser.parse_args(arguments)
    results, complete = measured(asked.only or names, Scale(asked.quick))
    if asked.output == "json":
        print(json.dumps([result.tree() | {"reached": result.reached} for result in results], indent=1))
    else:
        load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
        print(f"{os.cpu_count()} processors, Python {platform.python_version()}, load {load}\n")
        print(table(results))
        print(f"\n{commands(results)}")
    if not complete:
        sys.exit(1)


if __name__ == "__main__":
    main()

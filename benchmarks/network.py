"""The network: rules for many Services, in a network namespace of its own.

python -m benchmarks.network        # alone, in a new namespace; scripts/bench --only network as part of all
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.figure import Benchmark, Figure, table
from timonel.proxy import ruleset
from timonel.proxy.apply import Kernel
from timonel.proxy.elements import Elements
from timonel.proxy.model import Place, service_ports

ENDPOINTS = 5
CHANGES = 20
TARGETS = {1_000: 1.0, 10_000: 10.0}  # Services -> seconds of the first sync
CHANGE_TARGET = 20.0  # ms


def objects(number: int, shift: int = 0) -> tuple[dict[str, object], dict[str, object]]:
    """A Service and its EndpointSlice."""
    name = f"s{number}"
    first = number * ENDPOINTS + shift
    ips = [f"10.{244 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(first, first + ENDPOINTS)]
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return (
        {
            "metadata": {"namespace": "default", "name": name},
            "spec": {"clusterIPs": [f"10.96.{number >> 8}.{number & 255}"], "ports": ports},
        },
        {
            "metadata": {"namespace": "default", "name": name},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ip], "nodeName": f"n{n}"} for n, ip in enumerate(ips)],
        },
    )


async def rules(services: int) -> dict[str, float]:
    """From objects to rules in the kernel; then one Service at a time gets other endpoints."""
    kernel, network, place = Kernel(), ruleset.Network("timonel-bench", "10.244.0.0/14"), Place("n1")
    pairs = [objects(number) for number in range(services)]
    started = time.perf_counter()
    await kernel.rules(ruleset.base(network))
    elements = Elements()
    before = {}
    for service, slice_ in pairs:
        for port in service_ports(service, [slice_], place):
            elements.put(port)
            before[port.id] = port
    changes = elements.take()
    await kernel.rules(ruleset.chains(network, changes.kinds))
    await kernel.elements(network.table, changes)
    first = time.perf_counter() - started
    times = []
    for number in range(CHANGES):
        service, slice_ = objects(number, shift=1)  # one endpoint goes, one comes
        started = time.perf_counter()
        for port in service_ports(service, [slice_], place, before):
            elements.put(port)
        await kernel.elements(network.table, elements.take())
        times.append((time.perf_counter() - started) * 1000)
    await kernel.rules(ruleset.remove(network))
    kernel.close()
    return {"first": first, "change": statistics.median(times), "worst": max(times)}


def measure() -> Sequence[Figure]:
    figures = []
    for services, target in TARGETS.items():
        command = ["unshare", "--net", sys.executable, "-m", "benchmarks.network", str(services)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        named = f"{services:,} Services x {ENDPOINTS} endpoints"
        figures.append(Figure(f"rules of {named}, first sync", target, "s", found["first"]))
        note = f"median of {CHANGES}; worst {found['worst']:.1f} ms"
        figures.append(Figure(f"one change, {named}", CHANGE_TARGET, "ms", found["change"], note))
    return figures


def _missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    return "" if shutil.which("nft") else "nft is not installed"


BENCHMARKS = (Benchmark("network", measure, _missing),)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(asyncio.run(rules(int(sys.argv[1])))))
    else:
        print(table(measure()))

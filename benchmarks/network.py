"""The network: rules for many Services, in a network namespace of its own; cluster DNS.

python -m benchmarks.network        # alone, in a new namespace; scripts/bench --only network as part of all
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import Benchmark, Figure, table
from timonel.dns import packet
from timonel.dns.records import Zone, build
from timonel.netfilter.kernel import Kernel
from timonel.proxy import ruleset
from timonel.proxy.elements import Elements
from timonel.proxy.model import Place, service_ports

ENDPOINTS = 5
CHANGES = 20
TARGETS = {1_000: 1.0, 10_000: 10.0}  # Services -> seconds of the first sync
CHANGE_TARGET = 20.0  # ms


def objects(number: int, shift: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
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
    changes, kinds = elements.take()
    await kernel.rules(ruleset.chains(network, kinds))
    await kernel.elements(network.table, changes)
    first = time.perf_counter() - started
    times = []
    for number in range(CHANGES):
        service, slice_ = objects(number, shift=1)  # one endpoint goes, one comes
        started = time.perf_counter()
        for port in service_ports(service, [slice_], place, before):
            elements.put(port)
        await kernel.elements(network.table, elements.take()[0])
        times.append((time.perf_counter() - started) * 1000)
    await kernel.rules(ruleset.remove(network))
    kernel.close()
    return {"first": first, "change": statistics.median(times), "worst": max(times)}


DNS_SERVER = """
import asyncio, sys
from benchmarks.network import zone
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.dns.forward import Forwarder
from timonel.dns.server import DnsServer
from timonel.dns.settings import Forwarding
async def main():
    now, clock = zone(), SystemClock()
    server = DnsServer(address="127.0.0.1", port=0, zone=lambda: now, forwarder=Forwarder(Forwarding(), clock))
    async with running(server):
        print(server.port, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def zone() -> Zone:
    """10,000 Services, each tenth of them headless."""
    services, slices = [], []
    for number in range(10_000):
        service, slice_ = objects(number)
        if number % 10 == 0:
            service["spec"]["clusterIPs"] = ["None"]
        slice_["metadata"]["labels"] = {"kubernetes.io/service-name": f"s{number}"}
        services.append(service)
        slices.append(slice_)
    return build("cluster.local", services, slices, [{"metadata": {"name": "default"}}])


def resolve(seconds: float = 4.0, window: int = 24) -> Sequence[Figure]:
    """Names of 2,000 Services, some absent, `window` queries at a time; the server has a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", DNS_SERVER], stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, cores[:1])
    os.sched_setaffinity(0, cores[-1:])
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        queries = [
            packet.HEADER.pack(n, packet.RD, 1, 0, 0, 0)
            + packet.name_bytes(f"{'s' if n % 8 else 'absent'}{n * 7}.default.svc.cluster.local")
            + b"\0\1\0\1"
            for n in range(1400)
        ]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            client.settimeout(2)
            sent: dict[int, float] = {}
            waits: list[float] = []
            next_ = 0
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                while len(sent) < window:
                    query = queries[next_ % len(queries)]
                    sent[next_ % len(queries)] = time.perf_counter()
                    client.send(query)
                    next_ += 1
                reply = client.recv(1500)
                waits.append(time.perf_counter() - sent.pop(int.from_bytes(reply[:2], "big")))
            took = time.perf_counter() - began
        status = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        busy = (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        os.sched_setaffinity(0, cores)
        process.kill()
        process.wait()
    waits.sort()
    note = f"{window} at a time, 10,000 Services; {busy:.1f} s of the server's core in all"
    return [
        Figure(
            "DNS queries per second on one core", 8_000, "/s", len(waits) / took, note, more_is_better=True
        ),
        Figure("DNS, 99th percentile", 5.0, "ms", waits[int(len(waits) * 0.99)] * 1000),
    ]


def measure() -> Sequence[Figure]:
    figures: list[Figure] = []
    for services, target in TARGETS.items():
        command = ["unshare", "--net", sys.executable, "-m", "benchmarks.network", str(services)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        named = f"{services:,} Services x {ENDPOINTS} endpoints"
        figures.append(Figure(f"rules of {named}, first sync", target, "s", found["first"]))
        note = f"median of {CHANGES}; worst {found['worst']:.1f} ms"
        figures.append(Figure(f"one change, {named}", CHANGE_TARGET, "ms", found["change"], note))
    return [*figures, *resolve()]


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

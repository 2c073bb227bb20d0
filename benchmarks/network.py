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
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.dns import packet
from timonel.dns.records import Zone, build
from timonel.netfilter.elements import Changes
from timonel.netfilter.kernel import Kernel
from timonel.policy.shell import PolicyAgent
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


POLICIES, NAMESPACES, PODS = 1_000, 50, 100  # pods: of this node, and ten times as many elsewhere


class Still:
    """An informer whose objects a benchmark changes."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.handlers: list[Any] = []
        self.synced = asyncio.Event()
        self.synced.set()

    def add_handler(self, handler: Any) -> None:
        self.handlers.append(handler)
        for obj in self.objects.values():
            handler(None, obj)

    def put(self, obj: dict[str, Any]) -> None:
        key = f"{obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
        old, self.objects[key] = self.objects.get(key), obj
        for handler in self.handlers:
            handler(old, obj)


class Pictures:
    def __init__(self) -> None:
        self.informers: dict[str, Still] = {}

    def get(self, resource: str) -> Any:
        return self.informers.setdefault(resource, Still())

    metadata = get


def policy(number: int, label: str = "client") -> dict[str, Any]:
    peer = {"podSelector": {"matchLabels": {label: str(number % 10)}}}
    ports = [{"protocol": "TCP", "port": 8080 + number % 5}]
    return {
        "metadata": {"namespace": f"ns{number % NAMESPACES}", "name": f"p{number}"},
        "spec": {
            "podSelector": {"matchLabels": {"app": str(number % 20)}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer], "ports": ports}],
        },
    }


def policed_pod(number: int) -> dict[str, Any]:
    labels = {"app": str(number % 20), "client": str(number % 10)}
    return {
        "metadata": {"namespace": f"ns{number % NAMESPACES}", "name": f"pod{number}", "labels": labels},
        "spec": {"nodeName": "n1" if number < PODS else "n2", "containers": []},
        "status": {"podIP": f"10.244.{number >> 8}.{number & 255}", "phase": "Running"},
    }


class Counting(Kernel):
    """Tells when a transaction of elements is through."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()

    async def elements(self, table: str, changes: Changes) -> None:
        await super().elements(table, changes)
        self.done.set()


async def policies() -> dict[str, float]:
    """A policy that selects pods of this node changes: until the kernel goes by it."""
    pictures, kernel = Pictures(), Counting()
    agent = PolicyAgent(
        informers=pictures,  # type: ignore[arg-type]
        table="timonel-bench",
        node="n1",
        clock=SystemClock(),
        kernel=kernel,
    )
    for number in range(PODS * 11):
        pictures.get("pods").put(policed_pod(number))
    for number in range(POLICIES):
        pictures.get("networkpolicies.networking.k8s.io").put(policy(number))
    began = time.perf_counter()
    times = []
    async with running(agent):
        first = time.perf_counter() - began
        for number in range(CHANGES):
            kernel.done.clear()
            began = time.perf_counter()
            pictures.get("networkpolicies.networking.k8s.io").put(policy(number, label="app"))
            await kernel.done.wait()
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.1)
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


def resolve(seconds: float = 4.0, window: int = 8) -> Sequence[Figure]:
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
        found = _in_namespace(str(services))
        named = f"{services:,} Services x {ENDPOINTS} endpoints"
        figures.append(Figure(f"rules of {named}, first sync", target, "s", found["first"]))
        note = f"median of {CHANGES}; worst {found['worst']:.1f} ms"
        figures.append(Figure(f"one change, {named}", CHANGE_TARGET, "ms", found["change"], note))
    found = _in_namespace("policies")
    note = f"median of {CHANGES}; worst {found['worst']:.1f} ms; first sync {found['first']:.2f} s"
    figures.append(Figure("one change of 1,000 NetworkPolicies", 50.0, "ms", found["change"], note))
    return [*figures, *resolve()]


def _in_namespace(what: str) -> dict[str, float]:
    command = ["unshare", "--net", sys.executable, "-m", "benchmarks.network", what]
    found: dict[str, float] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return found


def _missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    return "" if shutil.which("nft") else "nft is not installed"


BENCHMARKS = (Benchmark("network", measure, _missing),)


if __name__ == "__main__":
    if sys.argv[1:] == ["policies"]:
        print(json.dumps(asyncio.run(policies())))
    elif sys.argv[1:]:
        print(json.dumps(asyncio.run(rules(int(sys.argv[1])))))
    else:
        print(table(measure()))

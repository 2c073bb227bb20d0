"""The API server alone, durable SQLite, TLS, a bearer token: single reads, single writes, lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import pods
from benchmarks.clusters import Running, cpu_seconds, fresh
from benchmarks.figure import Benchmark, Figure
from benchmarks.load import Report, run
from timonel.objects.meta import Object

ROUNDS = 3
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings"},
    "data": {"key": "v" * 200},
}


SERVICE_ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


def _note(measured: Measured) -> str:
    report = measured.report
    return (
        f"p50 {report.p50:.1f} ms, p99 {report.p99:.1f} ms; server {measured.processor * 1e6:,.0f} µs of CPU each "
        f"({1 / measured.processor:,.0f} /s a whole processor), generator {report.busy:.0%} busy"
    )


@dataclass(frozen=True, slots=True)
class Measured:
    report: Report
    processor: float  # seconds that the server computed for each request


def _measured(cluster: Running, generate: Callable[[int], Report]) -> Measured:
    """The middle one of some rounds."""
    rounds = []
    for number in range(ROUNDS):
        before = cpu_seconds([cluster.server])
        report = generate(number)
        rounds.append(Measured(report, (cpu_seconds([cluster.server]) - before) / report.sent))
    return sorted(rounds, key=lambda m: m.report.per_second)[ROUNDS // 2]


def _create(cluster: Running, path: str, obj: Object) -> None:
    run(pods.work(cluster, path, method="POST", body=json.dumps(obj), connections=1, at_most=1))


@contextmanager
def api_server() -> Iterator[Running]:
    """Alone, with what pods need and the controllers would make."""
    with fresh(components=("api",)) as cluster:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        _create(cluster, SERVICE_ACCOUNTS, account)
        yield cluster


def get() -> Sequence[Figure]:
    with api_server() as cluster:
        _create(cluster, CONFIG_MAPS, CONFIG_MAP)
        read = pods.work(cluster, f"{CONFIG_MAPS}/settings")
        found = _measured(cluster, lambda number: run(read))
    name = "GET one ConfigMap, 16 connections"
    return [Figure(name, 27_000, "/s", found.report.per_second, _note(found), True)]


def post() -> Sequence[Figure]:
    with api_server() as cluster:
        found = _measured(cluster, lambda n: pods.create(cluster, first=n * 1_000_000, seconds=3.0))
    name = "POST a pod, durable, 32 connections"
    return [Figure(name, 3_000, "/s", found.report.per_second, _note(found), True)]


def lists() -> Sequence[Figure]:
    figures = []
    with api_server() as cluster:
        stored = 0
        for count, target in ((500, 400), (5_000, 40)):
            pods.create(cluster, count - stored, first=stored)
            stored = count
            read = pods.work(cluster, pods.PATH, connections=4, seconds=3.0)
            found = _measured(cluster, lambda number, read=read: run(read))  # type: ignore[misc]
            speed, rate = found.report.bytes_per_second / 1e6, found.report.per_second
            note = f"{speed:,.0f} MB/s; {_note(found)}"
            figures.append(Figure(f"LIST {count:,} pods", target, "/s", rate, note, True))
    return figures


BENCHMARKS = (Benchmark("get", get), Benchmark("post", post), Benchmark("list", lists))

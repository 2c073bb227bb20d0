"""Requests as fast as they are answered: one object, lists, durable creates, patches, applies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks import pods
from benchmarks.apiserver.bare import Bare, serving
from benchmarks.apiserver.row import Result, Row, Scale
from benchmarks.apiserver.wrk import Load, Report, missing, run
from benchmarks.clusters import TOKEN, Running, cpu_seconds, fresh, resident
from benchmarks.figure import Figure
from benchmarks.load import run as send
from timonel.objects.meta import Object

NAMESPACE = "/api/v1/namespaces/default"
CONFIG_MAPS = f"{NAMESPACE}/configmaps"
SERVICE_ACCOUNTS = f"{NAMESPACE}/serviceaccounts"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
AMONG = 32  # Deployments that are patched in turn: one for each connection
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
CONFIG_MAP: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings"},
    "data": {"key": "v" * 200},
}
ACCOUNT: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


def deployment(name: str, mark: str) -> Object:
    labels = {"app": name}
    container = {
        "name": "web",
        "image": "registry.example/web:1",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "MARK", "value": mark}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def text(tree: Object) -> str:
    return json.dumps(tree, separators=(",", ":"))


def create(cluster: Running, path: str, obj: Object) -> None:
    send(pods.work(cluster, path, method="POST", body=text(obj), connections=1, at_most=1))


@contextmanager
def api_server(options: Sequence[str] = ()) -> Iterator[Running]:
    """Alone, with what pods need and the controllers would make."""
    with fresh(components=("api",), options=options) as cluster:
        create(cluster, SERVICE_ACCOUNTS, ACCOUNT)
        yield cluster


# ---- measuring


@dataclass(frozen=True, slots=True)
class Measured:
    report: Report
    processor: float  # seconds of the server for each request


def _middle(scale: Scale, measure: Callable[[int], Measured]) -> Measured:
    """The middle one of some rounds."""
    rounds = [measure(number) for number in range(scale.rounds)]
    return sorted(rounds, key=lambda m: m.report.per_second)[len(rounds) // 2]


def _loaded(port: int, pid: int, load: Load, seconds: float) -> Measured:
    before = cpu_seconds([pid])
    report = run(load, port=port, token=TOKEN, seconds=seconds)
    return Measured(report, (cpu_seconds([pid]) - before) / report.answers)


def _measured(
    cluster: Running, load: Load, scale: Scale, title: str, target: float, slowest: float = 0.0
) -> Result:
    """The load on the server, then on a bare one that answers as many bytes. `slowest`: milliseconds, p99."""

    def one(number: int) -> Measured:
        numbered = replace(load, first=load.first + (number + 1) * 1_000_000)
        return _loaded(cluster.port, cluster.server, numbered, scale.seconds)

    found = _middle(scale, one)
    report = found.report
    memory = resident(cluster.server)
    size = round(report.bytes_per_second / report.per_second)
    pki = cluster.root / "pki"
    with serving(Bare(str(pki / "server.crt"), str(pki / "server.key"), size=max(size - 200, 0))) as bare:
        least = _loaded(bare.port, bare.pid, load, 2.0)
    figures = [Figure(title, target, "/s", report.per_second, more_is_better=True)]
    if slowest:
        figures.append(Figure("  99 of 100 within", slowest, "ms", report.p99))
    return Result(
        name="",
        figures=figures,
        bare=least.report.per_second,
        p50=report.p50,
        p99=report.p99,
        processor=found.processor,
        resident=memory,
        command=report.command,
        note=f"{report.bytes_per_second / 1e6:,.0f} MB/s; bare {least.processor * 1e6:,.0f} µs",
    )


# ---- rows


def get(scale: Scale) -> Sequence[Result]:
    with api_server() as cluster:
        create(cluster, CONFIG_MAPS, CONFIG_MAP)
        load = Load(f"{CONFIG_MAPS}/settings")
        found = _measured(cluster, load, scale, "GET one ConfigMap, 16 connections", 27_000, 3.0)
    return [replace(found, name="get")]


def lists(count: int, target: float) -> Callable[[Scale], Sequence[Result]]:
    def measure(scale: Scale) -> Sequence[Result]:
        with api_server() as cluster:
            pods.create(cluster, count)
            load = Load(pods.PATH, connections=4)
            found = _measured(cluster, load, scale, f"LIST {count:,} pods", target)
        return [replace(found, name=f"list-{count}")]

    return measure


def _post(
    scale: Scale, name: str, title: str, target: float, options: Sequence[str] = ()
) -> Sequence[Result]:
    with api_server(options) as cluster:
        load = Load(pods.PATH, "POST", text(pods.POD), connections=32)
        found = _measured(cluster, load, scale, title, target, 40.0)
    return [replace(found, name=name)]


def post(scale: Scale) -> Sequence[Result]:
    return _post(scale, "post", "POST a pod, durable, 32 connections", 3_000)


def post_etcd(scale: Scale) -> Sequence[Result]:
    from benchmarks.apiserver.etcd import etcd

    with etcd() as options:
        return _post(scale, "post-etcd", "POST a pod, etcd on this machine, 32 connections", 1_500, options)


def _no_etcd() -> str:
    return missing() or ("" if shutil.which("etcd") else "etcd is not installed")


@contextmanager
def _deployments() -> Iterator[Running]:
    with api_server() as cluster:
        for number in range(AMONG):
            create(cluster, DEPLOYMENTS, deployment(f"web-{number}", "0"))
        yield cluster


def patch(scale: Scale) -> Sequence[Result]:
    body = '{"spec":{"template":{"metadata":{"annotations":{"mark":"%%"}}}}}'
    load = Load(f"{DEPLOYMENTS}/web-@@", "PATCH", body, MERGE, connections=AMONG, among=AMONG)
    with _deployments() as cluster:
        found = _measured(cluster, load, scale, "PATCH (merge) a Deployment, 32 connections", 2_000)
    return [replace(found, name="patch")]


def apply(scale: Scale) -> Sequence[Result]:
    path = f"{DEPLOYMENTS}/web-@@?fieldManager=bench&force=true"
    body = text(deployment("web-@@", "%%"))
    load = Load(path, "PATCH", body, APPLY, connections=AMONG, among=AMONG)
    with _deployments() as cluster:
        found = _measured(cluster, load, scale, "server-side apply of a Deployment, 32 connections", 1_000)
    return [replace(found, name="apply")]


ROWS = (
    Row("get", get, missing),
    Row("list-500", lists(500, 400), missing),
    Row("list-5000", lists(5_000, 40), missing),
    Row("post", post, missing),
    Row("post-etcd", post_etcd, _no_etcd),
    Row("patch", patch, missing),
    Row("apply", apply, missing),
)

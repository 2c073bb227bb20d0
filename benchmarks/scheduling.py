"""The scheduler's own work, in this process: choosing among 5,000 nodes with all plugins, and accounting for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.figure import Benchmark, Figure
from benchmarks.workloads import NODE_STATUS, node
from timonel.objects.meta import Key, Object
from timonel.scheduler import cycle
from timonel.scheduler.framework import State
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.podinfo import pod_info
from timonel.scheduler.profile import Profile, default_plugins

NODES = 5_000
PODS = 5_000
ZONES = 5


class NothingElse:
    """A cluster without claims, volumes and the like."""

    def get(self, resource: str, key: Key) -> Object | None:
        return None

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        return ()


def pod(number: int) -> Object:
    requests = {"cpu": "100m", "memory": "500Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": "default",
            "uid": f"uid-{number}",
            "labels": {"app": "web"},
        },
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "web", "image": "web:1", "resources": {"requests": requests}}],
        },
        "status": {"phase": "Pending"},
    }


def scheduling() -> Sequence[Figure]:
    nodes, profile, nothing = Nodes(), Profile(default_plugins()), NothingElse()
    for number in range(NODES):
        made = node(number)
        made["metadata"]["labels"]["topology.kubernetes.io/zone"] = f"zone-{number % ZONES}"
        nodes.put({**made, "status": NODE_STATUS})
    pods = [pod(number) for number in range(PODS)]
    started = time.perf_counter()
    for waiting in pods:
        state = State(pod_info(waiting), nodes, nothing)
        row = cycle.choose(profile, state)
        nodes.add_pod(nodes.name(row), state.info)
    elapsed = time.perf_counter() - started
    note = "in process: decision and accounts, without API"
    return [Figure(f"scheduling on {NODES:,} nodes", 1_500, "/s", PODS / elapsed, note, True)]


BENCHMARKS = (Benchmark("scheduling", scheduling),)

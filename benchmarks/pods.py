"""The pod that is written again and again: one container with a port, a variable and requests."""

from __future__ import annotations

import json

from benchmarks.clusters import TOKEN, Running
from benchmarks.load import Report, Work, run

PATH = "/api/v1/namespaces/default/pods"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "pod-@@", "labels": {"app": "web", "tier": "front"}},
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "registry.example/web:1",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "MODE", "value": "production"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }
        ]
    },
}


def work(cluster: Running, path: str, **changes: object) -> Work:
    return Work(cluster.port, str(cluster.root / "pki" / "ca.crt"), TOKEN, path, **changes)  # type: ignore[arg-type]


def create(cluster: Running, count: int = 0, *, first: int = 0, seconds: float = 30.0) -> Report:
    """Pods `first + 1` and on: so many, or as many as there is time for."""
    return run(
        work(
            cluster, PATH, method="POST", body=json.dumps(POD, separators=(",", ":")), connections=32,
            at_most=count, seconds=seconds, first=first,
        )
    )  # fmt: skip

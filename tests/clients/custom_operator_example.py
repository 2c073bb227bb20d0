"""A small kopf operator over a custom resource: its status, its children, its finalizer. For test_kopf_custom."""

from __future__ import annotations

from typing import Any

import kopf
from kubernetes import client, config

GROUP, VERSION, PLURAL = "operated.example.com", "v1", "tables"


@kopf.on.startup()
def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = True
    config.load_kube_config()


@kopf.on.create(GROUP, VERSION, PLURAL)
def created(spec: Any, name: str, namespace: str | None, **_: Any) -> dict[str, int]:
    child = {"metadata": {"name": f"{name}-legs"}, "data": {"legs": str(spec["legs"])}}
    kopf.adopt(child)
    client.CoreV1Api().create_namespaced_config_map(namespace, child)
    return {"legs": spec["legs"]}


@kopf.on.field(GROUP, VERSION, PLURAL, field="spec.legs")
def changed(old: Any, new: Any, patch: Any, **_: Any) -> None:
    if old is not None:
        patch.status["sawn"] = f"{old} to {new}"


@kopf.on.delete(GROUP, VERSION, PLURAL)
def deleted(body: Any, **_: Any) -> None:
    kopf.info(body, reason="Burnt", message="No table any more")


@kopf.timer(GROUP, VERSION, PLURAL, interval=0.5)
def watched(patch: Any, **_: Any) -> None:
    patch.status["watched"] = True

"""A pod that runs on its node is of no interest to who cleans up: those controllers are not woken for it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from timonel.control.declare import Cache
from timonel.controllers.disruption import STALE
from timonel.controllers.pod_garbage_collector import FORSAKEN
from timonel.objects.meta import Key, Object

OUT = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}


class Nodes:
    """As much of a cache as is asked for."""

    def __init__(self, *nodes: Object) -> None:
        self._nodes = {node["metadata"]["name"]: node for node in nodes}

    def get(self, resource: str, key: Key) -> Object | None:
        assert resource == "nodes"
        return self._nodes.get(key.name)


CACHE = cast(
    Cache, Nodes({"metadata": {"name": "here"}}, {"metadata": {"name": "out"}, "spec": {"taints": [OUT]}})
)


def pod(node: str = "", *, deleting: bool = False, **condition: str) -> Object:
    metadata: dict[str, Any] = {"name": "p", "namespace": "shop"}
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-25T12:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": node} if node else {},
        "status": {"conditions": [{"type": "DisruptionTarget", **condition}] if condition else []},
    }


@pytest.mark.parametrize(
    ("seen", "is_left"),
    [
        (pod(), False),
        (pod(deleting=True), True),
        (pod("here"), False),
        (pod("here", deleting=True), False),
        (pod("gone"), True),
        (pod("out", deleting=True), True),
    ],
)
def test_pods_are_collected_where_nobody_runs_them(seen: Object, is_left: bool) -> None:
    assert list(FORSAKEN.watches[0].wakes(seen, CACHE)) == ([Key("shop", "p")] if is_left else [])


@pytest.mark.parametrize(
    ("seen", "is_marked"),
    [(pod("here"), False), (pod("here", status="True"), True), (pod("here", status="False"), False)],
)
def test_conditions_grow_stale_where_there_are_any(seen: Object, is_marked: bool) -> None:
    assert list(STALE.watches[0].wakes(seen, CACHE)) == ([Key("shop", "p")] if is_marked else [])

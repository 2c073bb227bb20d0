"""NodeUnschedulable: cordoned nodes take only pods that tolerate it."""

from __future__ import annotations

from collections.abc import Iterable

from timonel.scheduler.framework import Refusal, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.tolerations import tolerates

TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable:
    name = "NodeUnschedulable"
    scope = "nodes"
    events = frozenset({"node-added", "node-changed", "pod-changed"})

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        mask = state.nodes.unschedulable[rows]
        if mask.any() and not tolerates(state.info.spec.get("tolerations") or (), TAINT):
            yield Refusal(mask, "node(s) were unschedulable")

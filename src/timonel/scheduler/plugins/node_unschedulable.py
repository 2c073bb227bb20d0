"""NodeUnschedulable: cordoned nodes take only pods that tolerate it."""

from __future__ import annotations

from collections.abc import Iterable

from timonel.objects.meta import Object
from timonel.scheduler.framework import Refusal, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.tolerations import tolerates

TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable:
    name = "NodeUnschedulable"
    scope = "nodes"
    events = frozenset({"node-added", "node-changed", "pod-changed"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """A node helps that is not cordoned."""
        if event not in ("node-added", "node-changed") or new is None:
            return True
        return not (new.get("spec") or {}).get("unschedulable")

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        mask = state.nodes.unschedulable[rows]
        if mask.any() and not tolerates(state.info.spec.get("tolerations") or (), TAINT):
            yield Refusal(mask, "node(s) were unschedulable")

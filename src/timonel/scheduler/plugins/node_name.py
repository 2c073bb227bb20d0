"""NodeName: a pod that names its node gets no other."""

from __future__ import annotations

from collections.abc import Iterable

from timonel.objects.meta import Object
from timonel.scheduler.framework import Refusal, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo


class NodeName:
    name = "NodeName"
    scope = "nodes"
    events = frozenset({"node-added"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        return new is None or new["metadata"]["name"] == info.spec.get("nodeName")

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        wanted = state.info.spec.get("nodeName")
        if not wanted:
            return
        yield Refusal(rows != state.nodes.row.get(wanted, -1), "node(s) didn't match the requested node name")

"""NodeName: a pod that names its node gets no other."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.scheduler.framework import Refusal, State


class NodeName:
    name = "NodeName"
    events = frozenset({"node-added"})

    def filter(self, state: State) -> Iterable[Refusal]:
        wanted = state.info.spec.get("nodeName")
        if not wanted:
            return
        mask = np.ones(state.count, dtype=np.bool_)
        row = state.nodes.row.get(wanted)
        if row is not None:
            mask[row] = False
        yield Refusal(mask, "node(s) didn't match the requested node name")

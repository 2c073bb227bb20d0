"""NodeResourcesBalancedAllocation: prefers nodes whose cpu and memory would be used to the same degree."""

from __future__ import annotations

import numpy as np

from timonel.scheduler.framework import MAX_SCORE, State
from timonel.scheduler.nodes import CPU, MEMORY, Ints


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    events: frozenset[str] = frozenset()

    def score(self, state: State, rows: Ints) -> Ints | None:
        nodes, info = state.nodes, state.info
        if not info.requests.get(CPU) and not info.requests.get(MEMORY):
            return None  # a pod that asks for neither changes no balance
        fractions = []
        for resource in (CPU, MEMORY):
            capacity = nodes.capacity(resource)[rows]
            used = nodes.requested[rows, nodes.column_of(resource)] + info.requests.get(resource, 0)
            fractions.append(np.minimum(used / np.maximum(capacity, 1), 1.0))
        deviation = np.abs(fractions[0] - fractions[1]) / 2
        scores: Ints = ((1 - deviation) * MAX_SCORE).astype(np.int64)
        return scores

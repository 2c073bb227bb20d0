"""NodeResourcesFit: what the pod asks for must be left on the node; the emptier node scores better (LeastAllocated)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.scheduler.framework import MAX_SCORE, Refusal, State
from timonel.scheduler.nodes import CPU, MEMORY, PODS, Ints


class NodeResourcesFit:
    name = "NodeResourcesFit"
    events = frozenset({"node-added", "node-changed", "pod-deleted", "pod-changed"})

    def filter(self, state: State) -> Iterable[Refusal]:
        nodes = state.nodes
        full = nodes.free(PODS) < 1
        if full.any():
            yield Refusal(full, "Too many pods", resolvable=True)
        for resource, amount in state.info.requests.items():
            short = nodes.free(resource) < amount
            if not short.any():
                continue
            hopeless = nodes.capacity(resource) < amount
            yield Refusal(short & ~hopeless, f"Insufficient {resource}", resolvable=True)
            yield Refusal(short & hopeless, f"Insufficient {resource}")

    def score(self, state: State, rows: Ints) -> Ints | None:
        nodes, info = state.nodes, state.info
        total = np.zeros(len(rows), dtype=np.int64)
        weights = np.zeros(len(rows), dtype=np.int64)
        for column, (resource, asked) in enumerate(((CPU, info.scored_cpu), (MEMORY, info.scored_memory))):
            capacity = nodes.capacity(resource)[rows]
            used = nodes.scored[rows, column] + asked
            fits = (capacity > 0) & (used <= capacity)
            total += np.where(fits, (capacity - used) * MAX_SCORE // np.maximum(capacity, 1), 0)
            weights += capacity > 0
        return total // np.maximum(weights, 1)

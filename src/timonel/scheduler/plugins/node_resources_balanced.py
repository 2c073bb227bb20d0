"""NodeResourcesBalancedAllocation: prefers nodes that the pod brings nearer to an even use of their resources.

Upstream: pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from timonel.scheduler.framework import MAX_SCORE, State
from timonel.scheduler.nodes import CPU, MEMORY, Ints, Nodes
from timonel.scheduler.podinfo import is_scalar

FEW = 8  # rows of which numbers are quicker than columns


class NodeResourcesBalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    scope = "row"
    events: frozenset[str] = frozenset()

    def __init__(self, resources: Sequence[str] = (CPU, MEMORY)) -> None:
        self._resources = tuple(resources)

    def score(self, state: State, rows: Ints) -> Ints | None:
        info = state.info
        if not any(info.requests.get(r) for r in self._resources):
            return None  # a pod that asks for none of them changes no balance
        considered = [r for r in self._resources if info.requests.get(r) or not is_scalar(r)]
        half = MAX_SCORE // 2
        if len(considered) == 2 and len(rows) <= FEW:
            pairs = [(state.nodes.column_of(r), info.requests.get(r, 0)) for r in considered]
            return np.array(
                [half + int((half + _change(state.nodes, row, pairs)) / 2) for row in rows.tolist()],
                dtype=np.int64,
            )
        columns = [[state.nodes.column_of(r)] for r in considered]
        capacity = state.nodes.allocatable[rows, columns]
        used = state.nodes.requested[rows, columns]
        asked = [[info.requests.get(r, 0)] for r in considered]
        after, before = _evenness(np.stack((used + asked, used), axis=1), capacity[:, None])
        return half + _truncated_half(half + after - before)


def _change(nodes: Nodes, row: int, pairs: Sequence[tuple[int, int]]) -> int:
    """By how much a pod brings a node nearer to an even use of two resources, given as column and amount.

    As the other way below, with numbers instead of columns.
    """
    capacity, used = nodes.allocatable[row].tolist(), nodes.requested[row].tolist()
    (one, more), (two, more_of_two) = pairs
    if capacity[one] <= 0 or capacity[two] <= 0:
        return 0
    before = abs(min(used[one] / capacity[one], 1.0) - min(used[two] / capacity[two], 1.0)) / 2
    shares = (used[one] + more) / capacity[one], (used[two] + more_of_two) / capacity[two]
    after = abs(min(shares[0], 1.0) - min(shares[1], 1.0)) / 2
    return int((1 - after) * MAX_SCORE) - int((1 - before) * MAX_SCORE)


def _truncated_half(numbers: Ints) -> Ints:
    found: Ints = np.trunc(numbers / 2).astype(np.int64)
    return found


def _evenness(used: Ints, capacity: Ints) -> Ints:
    """100 where all resources are used to the same degree, less by the deviation; the first axis are resources."""
    there = capacity > 0
    fractions = np.minimum(used / np.maximum(capacity, 1), 1.0)
    if len(fractions) == 2:
        deviation = np.abs(fractions[0] - fractions[1]) * there.all(axis=0) / 2
    else:
        count = np.maximum(there.sum(axis=0), 1)
        fractions = np.where(there, fractions, 0.0)
        mean = fractions.sum(axis=0) / count
        deviation = np.sqrt((np.where(there, fractions - mean, 0.0) ** 2).sum(axis=0) / count)
    found: Ints = ((1 - deviation) * MAX_SCORE).astype(np.int64)
    return found


def from_arguments(arguments: Mapping[str, Any]) -> NodeResourcesBalancedAllocation:
    """From NodeResourcesBalancedAllocationArgs; weights have no say here."""
    return NodeResourcesBalancedAllocation(
        [r["name"] for r in arguments.get("resources") or ()] or (CPU, MEMORY)
    )

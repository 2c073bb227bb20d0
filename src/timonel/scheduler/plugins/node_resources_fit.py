"""NodeResourcesFit: what the pod asks for must be left on the node; how full a node is decides how it scores.

Upstream: pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated,most_allocated,
requested_to_capacity_ratio}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from timonel.objects.meta import Object
from timonel.scheduler import extendedresources
from timonel.scheduler.framework import MAX_SCORE, Refusal, State
from timonel.scheduler.nodes import CPU, MEMORY, PODS, Ints, Nodes
from timonel.scheduler.podinfo import PodInfo, amount_of, is_scalar

LEAST, MOST, RATIO = "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
MOST_CUSTOM_SCORE = 10  # of a shape's points

PLAIN = ((CPU, 1), (MEMORY, 1))

FULL = "Too many pods"
FEW = 8  # rows of which numbers are quicker than columns

Weights = Sequence[tuple[str, int]]


class NodeResourcesFit:
    name = "NodeResourcesFit"
    scope = "row"
    events = frozenset({"node-added", "node-changed", "pod-deleted", "pod-changed"})

    def __init__(
        self,
        *,
        strategy: str = LEAST,
        resources: Weights = PLAIN,
        shape: Sequence[tuple[int, int]] = (),
        ignored: Iterable[str] = (),
        ignored_groups: Iterable[str] = (),
    ) -> None:
        self._strategy, self._resources = strategy, tuple(resources)
        self._shape = [(used, points * MAX_SCORE // MOST_CUSTOM_SCORE) for used, points in shape]
        self._ignored, self._ignored_groups = frozenset(ignored), frozenset(ignored_groups)

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        asked = [(r, amount) for r, amount in state.info.requests.items() if not self._is_ignored(r)]
        nodes = state.nodes
        columns = [nodes.resources[PODS], *(nodes.column_of(r) for r, _ in asked)]
        if len(rows) <= FEW and not extendedresources.could_be(state.info):
            amounts = [1, *(amount for _, amount in asked)]
            reasons = [FULL, *(f"Insufficient {resource}" for resource, _ in asked)]
            yield from _refusals_of_few(nodes, rows, zip(reasons, columns, amounts, strict=True))
            return
        capacity = nodes.allocatable[rows[:, None], columns]
        short = capacity - nodes.requested[rows[:, None], columns] < [1, *(amount for _, amount in asked)]
        if not short.any():
            return
        for number, (resource, _) in enumerate(asked, 1):
            if short[:, number].any() and resource in extendedresources.mapped(state):
                short[:, number] &= capacity[:, number] > 0  # where there is none, devices may stand for it
        yield Refusal(short[:, 0], FULL, resolvable=True)
        for number, (resource, amount) in enumerate(asked, 1):
            lacking = short[:, number]
            hopeless = capacity[:, number] < amount
            yield Refusal(lacking & ~hopeless, f"Insufficient {resource}", resolvable=True)
            yield Refusal(lacking & hopeless, f"Insufficient {resource}")

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """A node that changed helps if it has more than before."""
        if event != "node-changed" or new is None or old is None:
            return True
        now, before = _allocatable(new), _allocatable(old)
        return any(now.get(r, 0) > before.get(r, 0) for r in (*info.requests, PODS))

    @property
    def ignores_some(self) -> bool:
        return bool(self._ignored or self._ignored_groups)

    def _is_ignored(self, resource: str) -> bool:
        return resource in self._ignored or resource.partition("/")[0] in self._ignored_groups

    def score(self, state: State, rows: Ints) -> Ints | None:
        if self._strategy == LEAST and self._resources == PLAIN:
            return _plain(state, rows)
        total = np.zeros(len(rows), dtype=np.int64)
        weights = np.zeros(len(rows), dtype=np.int64)
        for resource, weight in self._resources:
            asked = _asked(state, resource)
            if not asked and is_scalar(resource):
                continue
            capacity = state.nodes.capacity(resource, rows)
            points = self._points(_used(state.nodes, resource, rows) + asked, capacity)
            counts = (capacity > 0) & (points > 0 if self._strategy == RATIO else True)
            total += np.where(counts, points * weight, 0)
            weights += np.where(counts, weight, 0)
        if self._strategy == RATIO:
            return np.rint(total / np.maximum(weights, 1)).astype(np.int64)
        return total // np.maximum(weights, 1)

    def _points(self, used: Ints, capacity: Ints) -> Ints:
        room = np.maximum(capacity, 1)
        if self._strategy == LEAST:
            return np.where(used <= capacity, (capacity - used) * MAX_SCORE // room, 0)
        if self._strategy == MOST:
            return np.minimum(used, capacity) * MAX_SCORE // room
        share = np.where(used <= capacity, MAX_SCORE - (capacity - used) * MAX_SCORE // room, MAX_SCORE)
        found = np.interp(share, [u for u, _ in self._shape], [p for _, p in self._shape])
        return np.trunc(found).astype(np.int64)


def _allocatable(node: Object) -> dict[str, int]:
    told = (node.get("status") or {}).get("allocatable") or {}
    return {resource: amount_of(resource, text) for resource, text in told.items()}


def _refusals_of_few(nodes: Nodes, rows: Ints, wanted: Iterable[tuple[str, int, int]]) -> Iterable[Refusal]:
    """As above, of numbers instead of columns; `wanted` are reasons, columns and amounts."""
    there = [(nodes.allocatable[row].tolist(), nodes.requested[row].tolist()) for row in rows.tolist()]
    for reason, column, amount in wanted:
        lacking = [capacity[column] - used[column] < amount for capacity, used in there]
        if True not in lacking:
            continue
        hopeless = [reason != FULL and capacity[column] < amount for capacity, _ in there]
        pairs = list(zip(lacking, hopeless, strict=True))
        yield Refusal(np.array([short and not never for short, never in pairs]), reason, resolvable=True)
        yield Refusal(np.array([short and never for short, never in pairs]), reason)


def _plain(state: State, rows: Ints) -> Ints:
    """LeastAllocated of CPU and memory alike, the usual case."""
    nodes, info = state.nodes, state.info
    if len(rows) <= FEW:
        return np.array([_plain_of_one(nodes, info, row) for row in rows.tolist()], dtype=np.int64)
    capacity = nodes.allocatable[rows, :2]
    left = capacity - nodes.scored[rows] - (info.scored_cpu, info.scored_memory)
    points = np.maximum(left, 0) * MAX_SCORE // np.maximum(capacity, 1)
    found: Ints = points.sum(axis=1) // np.maximum((capacity > 0).sum(axis=1), 1)
    return found


def _plain_of_one(nodes: Nodes, info: PodInfo, row: int) -> int:
    """As above, of numbers instead of columns."""
    cpu, memory = nodes.allocatable[row, :2].tolist()
    used_cpu, used_memory = nodes.scored[row].tolist()
    points = max(cpu - used_cpu - info.scored_cpu, 0) * MAX_SCORE // max(cpu, 1)
    points += max(memory - used_memory - info.scored_memory, 0) * MAX_SCORE // max(memory, 1)
    found: int = points // max((cpu > 0) + (memory > 0), 1)
    return found


def _asked(state: State, resource: str) -> int:
    if resource == CPU:
        return state.info.scored_cpu
    return state.info.scored_memory if resource == MEMORY else state.info.requests.get(resource, 0)


def _used(nodes: Nodes, resource: str, rows: Ints) -> Ints:
    found: Ints
    if resource in (CPU, MEMORY):
        found = nodes.scored[rows, 0 if resource == CPU else 1]
    else:
        found = nodes.requested[rows, nodes.column_of(resource)]
    return found


def from_arguments(arguments: Mapping[str, Any]) -> NodeResourcesFit:
    """From NodeResourcesFitArgs, which were checked before."""
    strategy = arguments.get("scoringStrategy") or {}
    ratio = strategy.get("requestedToCapacityRatio") or {}
    return NodeResourcesFit(
        strategy=strategy.get("type") or LEAST,
        resources=weights_of(strategy.get("resources")),
        shape=[(p.get("utilization", 0), p.get("score", 0)) for p in ratio.get("shape") or ()],
        ignored=arguments.get("ignoredResources") or (),
        ignored_groups=arguments.get("ignoredResourceGroups") or (),
    )


def weights_of(resources: Any) -> Weights:
    return [(r["name"], r.get("weight") or 1) for r in resources or ()] or PLAIN

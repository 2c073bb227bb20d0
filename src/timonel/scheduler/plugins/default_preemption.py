"""DefaultPreemption: when no node will do, makes room on one by removing pods of lower priority.

Where a pod lacks nothing but room, sums of requests decide about a node; where any other filter has a say, all filters
are asked again, supposing that pods were gone. What was found out is kept for the next pod of its kind.

Upstream: pkg/scheduler/framework/plugins/defaultpreemption, framework/preemption.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import field

import numpy as np

from timonel.records import dataclass
from timonel.scheduler.budgets import BUDGETS, Budgets
from timonel.scheduler.framework import (
    ALL_CANDIDATES,
    Diagnosis,
    Nomination,
    PostFiltered,
    State,
    Suppose,
    Supposed,
    histogram,
)
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.preemption import Candidate, cheapest, is_being_preempted, room, victims_on

NO_VICTIMS = "No preemption victims found for incoming pod"
UNHELPFUL = "Preemption is not helpful for scheduling"
FIT = "NodeResourcesFit"


@dataclass(slots=True)
class _Found:
    """What is known of nodes: a candidate, or why it is none."""

    budgets: Budgets
    versions: tuple[str, ...]
    rows: dict[int, Candidate | tuple[str, ...]] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)  # rows of which it is no longer known
    ranked: list[tuple[tuple[object, ...], Candidate]] = field(
        default_factory=list
    )  # a heap, also of outdated ones
    count: int = 0  # of candidates among `rows`
    position: int = 0  # of the hopeful rows, how many were looked at

    def put(self, row: int, answer: Candidate | tuple[str, ...]) -> None:
        self.rows[row] = answer
        if isinstance(answer, Candidate):
            self.count += 1
            heapq.heappush(self.ranked, (answer.rank, answer))

    def forget(self, row: int) -> None:
        answer = self.rows.pop(row, None)
        if answer is not None:
            self.changed.add(row)
            self.count -= isinstance(answer, Candidate)

    def best(self) -> Candidate | None:
        while self.ranked:
            candidate = self.ranked[0][1]
            if self.rows.get(candidate.row) is candidate:
                return candidate
            heapq.heappop(self.ranked)
        return None


class DefaultPreemption:
    name = "DefaultPreemption"
    events = frozenset({"pod-deleted", "pod-changed"})

    def __init__(self, *, least_percentage: int = 10, least_number: int = 100) -> None:
        """Of how many nodes it is found out, at least, what would have to go there."""
        self._percentage, self._number = least_percentage, least_number

    def row_changed(self, state: State, row: int) -> None:
        found: _Found | None = state.notes.get(self.name)
        if found is not None:
            found.forget(row)

    def post_filter(self, state: State, diagnosis: Diagnosis, suppose: Suppose) -> PostFiltered:
        refused = self._ineligible(state, diagnosis)
        if refused:
            return PostFiltered(f"preemption: {refused}")
        hopeful = np.flatnonzero(~diagnosis.unresolvable)
        known = self._known(state)
        reasons: Counter[str] = Counter({UNHELPFUL: diagnosis.count - len(hopeful)})
        if diagnosis.lacks_only_room:
            best, found = self._best_by_room(state, known, hopeful), []
            if ALL_CANDIDATES in state.notes:
                found = [c for c in map(known.rows.get, hopeful.tolist()) if isinstance(c, Candidate)]
            if best is None:
                for row in hopeful.tolist():
                    reasons.update(_reasons(known.rows.get(row)))
        else:
            best, found = self._best_by_filters(state, suppose, known.budgets, hopeful, reasons)
        if best is None:
            text = f"preemption: 0/{diagnosis.count} nodes are available: {histogram(+reasons)}."
            return PostFiltered(text, Nomination(""))
        nomination = Nomination(state.nodes.name(best.row), best.victims)
        return PostFiltered(nomination=nomination, candidates=found)

    def _ineligible(self, state: State, diagnosis: Diagnosis) -> str:
        if state.info.spec.get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        node = (state.info.pod.get("status") or {}).get("nominatedNodeName")
        row = state.nodes.row.get(node) if node else None
        if row is None or diagnosis.unresolvable[row]:
            return ""
        lower = (info for info in state.nodes.pods[row].values() if info.priority < state.info.priority)
        if any(is_being_preempted(info.pod) for info in lower):
            return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _enough(self, hopeful: Ints) -> int:
        return min(max(len(hopeful) * self._percentage // 100, self._number), len(hopeful))

    def _best_by_room(self, state: State, known: _Found, hopeful: Ints) -> Candidate | None:
        """Looks at what has changed, and at so many more nodes that there is a choice."""
        for row in known.changed:
            known.put(row, _look_by_room(state, row, known.budgets))
        known.changed.clear()
        enough = self._enough(hopeful)
        while known.position < len(hopeful) and known.count < enough:
            row = int(hopeful[known.position])
            known.position += 1
            if row not in known.rows:
                known.put(row, _look_by_room(state, row, known.budgets))
        best = known.best()
        while best is not None and best.violations and known.position < len(hopeful):
            row = int(hopeful[known.position])  # as upstream: until one breaks no budget
            known.position += 1
            if row not in known.rows:
                known.put(row, _look_by_room(state, row, known.budgets))
                best = known.best()
        return best

    def _best_by_filters(
        self, state: State, suppose: Suppose, budgets: Budgets, hopeful: Ints, reasons: Counter[str]
    ) -> tuple[Candidate | None, list[Candidate]]:
        """The best one, and all that were found."""
        found: list[Candidate] = []
        harmless, enough = False, self._enough(hopeful)
        for row in hopeful.tolist():
            answer = _look_by_filters(state, suppose, row, budgets)
            if isinstance(answer, tuple):
                reasons.update(answer)
                continue
            found.append(answer)
            harmless = harmless or not answer.violations
            if harmless and len(found) >= enough:
                break
        return cheapest(found) if found else None, found

    def _known(self, state: State) -> _Found:
        objects = sorted(
            state.reads.list(BUDGETS), key=lambda o: (o["metadata"]["namespace"], o["metadata"]["name"])
        )
        versions = tuple(o["metadata"].get("resourceVersion", "") for o in objects)
        known: _Found | None = state.notes.get(self.name)
        if known is None or known.versions != versions:
            known = state.notes[self.name] = _Found(Budgets(objects), versions)
        return known


def _reasons(answer: Candidate | tuple[str, ...] | None) -> tuple[str, ...]:
    return answer if isinstance(answer, tuple) else ()


def _lower(state: State, row: int) -> list[PodInfo]:
    return [info for info in state.nodes.pods[row].values() if info.priority < state.info.priority]


def _look_by_room(state: State, row: int, budgets: Budgets) -> Candidate | tuple[str, ...]:
    lower = _lower(state, row)
    if not lower:
        return (NO_VICTIMS,)
    left = room(state.nodes, state.info, row)
    return victims_on(row, lower, left, budgets) or tuple(left.lacking())


def _look_by_filters(
    state: State, suppose: Suppose, row: int, budgets: Budgets
) -> Candidate | tuple[str, ...]:
    lower = _lower(state, row)
    if not lower:
        return (NO_VICTIMS,)
    with suppose.at(row) as supposed:
        place = _Place(supposed)
        return victims_on(row, lower, place, budgets) or place.reasons


@dataclass(slots=True)
class _Place:
    supposed: Supposed
    reasons: tuple[str, ...] = ()

    def remove(self, info: PodInfo) -> None:
        self.supposed.remove(info)

    def add(self, info: PodInfo) -> None:
        self.supposed.add(info)

    def fits(self) -> bool:
        self.reasons = tuple(refusal.reason for refusal in self.supposed.refusals())
        return not self.reasons

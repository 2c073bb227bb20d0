"""DefaultPreemption: when no node will do, makes room on one by removing pods of lower priority.

Where a pod lacks nothing but room, sums of requests decide about a node; where any other filter has a say, all filters
are asked again, supposing that pods were gone. What was found out is kept for the next pod of its kind.

Upstream: pkg/scheduler/framework/plugins/defaultpreemption, framework/preemption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from timonel.scheduler.budgets import BUDGETS, Budgets
from timonel.scheduler.framework import (
    Diagnosis,
    Nomination,
    PostFiltered,
    State,
    Suppose,
    Supposed,
    histogram,
)
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


class DefaultPreemption:
    name = "DefaultPreemption"
    events = frozenset({"pod-deleted", "pod-changed"})

    def __init__(self, *, least_percentage: int = 10, least_number: int = 100) -> None:
        """Of how many nodes it is found out, at least, what would have to go there."""
        self._percentage, self._number = least_percentage, least_number

    def row_changed(self, state: State, row: int) -> None:
        found: _Found | None = state.notes.get(self.name)
        if found is not None:
            found.rows.pop(row, None)

    def post_filter(self, state: State, diagnosis: Diagnosis, suppose: Suppose) -> PostFiltered:
        refused = self._ineligible(state, diagnosis)
        if refused:
            return PostFiltered(f"preemption: {refused}")
        rows = np.flatnonzero(~diagnosis.unresolvable).tolist()
        reasons: Counter[str] = Counter({UNHELPFUL: diagnosis.count - len(rows)})
        candidates = self._candidates(state, diagnosis, suppose, rows, reasons)
        if not candidates:
            text = f"preemption: 0/{diagnosis.count} nodes are available: {histogram(+reasons)}."
            return PostFiltered(text, Nomination(""))
        best = cheapest(candidates)
        return PostFiltered(nomination=Nomination(state.nodes.name(best.row), best.victims))

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

    def _candidates(
        self,
        state: State,
        diagnosis: Diagnosis,
        suppose: Suppose,
        rows: Sequence[int],
        reasons: Counter[str],
    ) -> list[Candidate]:
        enough = min(max(len(rows) * self._percentage // 100, self._number), len(rows))
        known = self._known(state)
        by_room = diagnosis.lacks_only_room
        found: list[Candidate] = []
        harmless = False
        for row in rows:
            answer = known.rows.get(row)
            if answer is None:
                lower = [i for i in state.nodes.pods[row].values() if i.priority < state.info.priority]
                answer = self._look(state, suppose, row, lower, known.budgets, by_room=by_room)
                if by_room:
                    known.rows[row] = answer
            if isinstance(answer, tuple):
                reasons.update(answer)
                continue
            found.append(answer)
            harmless = harmless or not answer.violations
            if harmless and len(found) >= enough:
                break
        return found

    def _known(self, state: State) -> _Found:
        objects = sorted(
            state.reads.list(BUDGETS), key=lambda o: (o["metadata"]["namespace"], o["metadata"]["name"])
        )
        versions = tuple(o["metadata"].get("resourceVersion", "") for o in objects)
        known: _Found | None = state.notes.get(self.name)
        if known is None or known.versions != versions:
            known = state.notes[self.name] = _Found(Budgets(objects), versions)
        return known

    def _look(
        self,
        state: State,
        suppose: Suppose,
        row: int,
        lower: Sequence[PodInfo],
        budgets: Budgets,
        *,
        by_room: bool,
    ) -> Candidate | tuple[str, ...]:
        if not lower:
            return (NO_VICTIMS,)
        if by_room:
            left = room(state.nodes, state.info, row)
            return victims_on(row, lower, left, budgets) or tuple(left.lacking())
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

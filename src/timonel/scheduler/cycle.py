"""One decision about one pod: which node, or why none. Pure: no I/O, no clock.

Upstream: pkg/scheduler/schedule_one.go (schedulePod, findNodesThatFitPod, prioritizeNodes, selectHost).
"""

from __future__ import annotations

import numpy as np

from timonel.scheduler.framework import Diagnosis, Rejected, State
from timonel.scheduler.nodes import Ints, Mask
from timonel.scheduler.profile import Profile


class Unschedulable(Exception):
    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


def choose(profile: Profile, state: State) -> int:
    """The row of the best node; raises Unschedulable."""
    diagnosis = Diagnosis(state.count)
    if not state.count:
        raise Unschedulable(diagnosis)
    feasible = _filter(profile, state, diagnosis)
    rows = np.flatnonzero(feasible)
    if not len(rows):
        _post_filter(profile, state, diagnosis)
        raise Unschedulable(diagnosis)
    if len(rows) == 1:
        return int(rows[0])
    return int(rows[np.argmax(_score(profile, state, rows))])


def _filter(profile: Profile, state: State, diagnosis: Diagnosis) -> Mask:
    feasible = np.ones(state.count, dtype=np.bool_)
    diagnosis.unresolvable = np.zeros(state.count, dtype=np.bool_)
    narrowing: list[str] = []
    only: set[str] | None = None
    for plugin in profile.pre_filter:
        try:
            found = plugin.pre_filter(state)
        except Rejected as exc:
            diagnosis.rejected = exc.reason
            diagnosis.plugins.add(profile.name_of(plugin))
            diagnosis.unresolvable[:] = True
            feasible[:] = False
            return feasible
        if found is not None:
            narrowing.append(profile.name_of(plugin))
            only = found if only is None else only & found
    if only is not None:
        keep = np.zeros(state.count, dtype=np.bool_)
        keep[[state.nodes.row[name] for name in only if name in state.nodes.row]] = True
        _refuse(diagnosis, feasible & ~keep, f"node(s) didn't satisfy plugin(s) [{' '.join(narrowing)}]")
        diagnosis.unresolvable |= ~keep
        diagnosis.plugins.update(narrowing)
        feasible &= keep
    for filtering in profile.filter:
        before = feasible.copy()
        for refusal in filtering.filter(state):
            refused = refusal.mask & before
            if refused.any():
                _refuse(diagnosis, refused, refusal.reason)
                diagnosis.plugins.add(profile.name_of(filtering))
                feasible &= ~refused
                if not refusal.resolvable:
                    diagnosis.unresolvable |= refused
        if not feasible.any():
            break
    return feasible


def _refuse(diagnosis: Diagnosis, mask: Mask, reason: str) -> None:
    count = int(mask.sum())
    if count:
        diagnosis.reasons[reason] += count


def _post_filter(profile: Profile, state: State, diagnosis: Diagnosis) -> None:
    said = [plugin.post_filter(state, diagnosis) for plugin in profile.post_filter]
    diagnosis.post_filter = ", ".join(text for text in said if text)


def _score(profile: Profile, state: State, rows: Ints) -> Ints:
    total = np.zeros(len(rows), dtype=np.int64)
    for plugin in profile.score:
        scores = plugin.score(state, rows)
        if scores is not None:
            total += profile.weight_of(plugin) * scores.astype(np.int64)
    return total

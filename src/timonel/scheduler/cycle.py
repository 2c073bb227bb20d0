"""One decision about one pod: which node, or why none. Pure: no I/O, no clock.

Upstream: pkg/scheduler/schedule_one.go (schedulePod, findNodesThatFitPod, prioritizeNodes, selectHost), and
runtime/framework.go (RunFilterPluginsWithNominatedPods).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from timonel.scheduler.framework import Diagnosis, Refusal, Rejected, Skip, State
from timonel.scheduler.nodes import Ints, Mask
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.podinfo import PodInfo
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
    rows = feasible(profile, state, diagnosis)
    if not len(rows):
        post_filter(profile, state, diagnosis)
        raise Unschedulable(diagnosis)
    if len(rows) == 1:
        return int(rows[0])
    return int(rows[np.argmax(score(profile, state, rows))])


def feasible(profile: Profile, state: State, diagnosis: Diagnosis) -> Ints:
    """The rows that all filters let pass; `diagnosis` is told about the others."""
    diagnosis.unresolvable = np.zeros(state.count, dtype=np.bool_)
    rows = passing(profile, state, diagnosis, pre_filter(profile, state, diagnosis))
    return beside_nominated(profile, state, diagnosis, rows)


def passing(profile: Profile, state: State, diagnosis: Diagnosis, rows: Ints) -> Ints:
    """Those of the rows that no filter refuses."""
    for filtering in profile.filter:
        if not len(rows):
            break
        if profile.name_of(filtering) in state.skipped:
            continue
        left = np.ones(len(rows), dtype=np.bool_)
        for refusal in filtering.filter(state, rows):
            if not refusal.mask.any():
                continue
            refuse(diagnosis, rows[refusal.mask], refusal)
            diagnosis.plugins.add(profile.name_of(filtering))
            left &= ~refusal.mask
        if not left.all():
            rows = rows[left]
    return rows


def pre_filter(profile: Profile, state: State, diagnosis: Diagnosis) -> Ints:
    """The rows worth looking at; empty if a plugin has rejected the pod."""
    narrowing: list[str] = []
    only: set[str] | None = None
    for plugin in profile.pre_filter:
        try:
            found = plugin.pre_filter(state)
        except Skip:
            state.skipped.add(profile.name_of(plugin))
            continue
        except Rejected as exc:
            diagnosis.rejected = exc.reason
            diagnosis.plugins.add(profile.name_of(plugin))
            diagnosis.unresolvable[:] = not exc.resolvable
            return np.zeros(0, dtype=np.int64)
        if found is not None:
            narrowing.append(profile.name_of(plugin))
            only = found if only is None else only & found
    rows = np.arange(state.count)
    if only is None:
        return rows
    keep = np.zeros(state.count, dtype=np.bool_)
    keep[[state.nodes.row[name] for name in only if name in state.nodes.row]] = True
    reason = f"node(s) didn't satisfy plugin(s) [{' '.join(narrowing)}]"
    refuse(diagnosis, rows[~keep], Refusal(~keep, reason))
    diagnosis.plugins.update(narrowing)
    return rows[keep]


def refuse(diagnosis: Diagnosis, rows: Ints, refusal: Refusal) -> None:
    if len(rows):
        diagnosis.reasons[refusal.reason] += len(rows)
        if not refusal.resolvable:
            diagnosis.unresolvable[rows] = True


def beside_nominated(profile: Profile, state: State, diagnosis: Diagnosis, rows: Ints) -> Ints:
    """Without the rows that are too full once the pods nominated to them have come."""
    kept = np.ones(len(rows), dtype=np.bool_)
    for at, row in nominated_rows(state, rows):
        found = refusals_beside_nominated(profile, state, row)
        if found:
            kept[at] = False
            for refusal in found:
                refuse(diagnosis, rows[at : at + 1], refusal)
    return rows if kept.all() else rows[kept]


def nominated_rows(state: State, rows: Ints) -> Sequence[tuple[int, int]]:
    """(place in rows, row) of nodes that pods at least as important as this one are nominated to."""
    nominations = state.nodes.nominations
    if not nominations:
        return ()
    concerned = {
        state.nodes.row[node]
        for node, there in nominations.items()
        if node in state.nodes.row and any(_goes_first(state.info, other) for other in there.values())
    }
    return [(at, int(row)) for at, row in enumerate(rows.tolist()) if row in concerned] if concerned else ()


def _goes_first(info: PodInfo, other: PodInfo) -> bool:
    return other.uid != info.uid and other.priority >= info.priority


def refusals_beside_nominated(profile: Profile, state: State, row: int) -> Sequence[Refusal]:
    with Suppositions(profile, state).at(row) as supposed:
        return supposed.with_nominated()


def post_filter(profile: Profile, state: State, diagnosis: Diagnosis) -> None:
    diagnosis.lacks_only_room = lacks_only_room(profile, state)
    said: list[str] = []
    for plugin in profile.post_filter:
        found = plugin.post_filter(state, diagnosis, Suppositions(profile, state))
        if found.nomination is not None:
            diagnosis.nomination = found.nomination
            if found.nomination.node:
                diagnosis.post_filter = ""
                return
        if found.message:
            said.append(found.message)
        if found.final:
            break
    diagnosis.post_filter = ", ".join(said)


def lacks_only_room(profile: Profile, state: State) -> bool:
    """Whether no filter but NodeResourcesFit can have something against a node that is not hopeless."""
    if state.nodes.nominated_repelling:
        return False
    before = True
    for plugin in profile.filter:
        name = profile.name_of(plugin)
        if isinstance(plugin, NodeResourcesFit):
            if plugin.ignores_some:
                return False
            before = False
        elif name not in state.skipped and not (before and profile.scope_of(plugin) == "nodes"):
            return False
    return not before


def score(profile: Profile, state: State, rows: Ints) -> Ints:
    total = np.zeros(len(rows), dtype=np.int64)
    for preparing in profile.pre_score:
        preparing.pre_score(state, rows)
    for plugin in profile.score:
        scores = plugin.score(state, rows)
        if scores is not None:
            total += profile.weight_of(plugin) * profile.normalized(plugin, state, rows, scores)
    return total


@dataclass(slots=True)
class Suppositions:
    """What would be if other pods were on a node; plugins that keep accounts in their notes are told."""

    profile: Profile
    state: State

    @contextmanager
    def at(self, row: int) -> Iterator[Supposed]:
        supposed = Supposed(self.profile, self.state, row)
        try:
            with self.state.nodes.supposing(row):
                yield supposed
        finally:
            supposed.undo()


@dataclass(slots=True)
class Supposed:
    profile: Profile
    state: State
    row: int
    done: list[tuple[PodInfo, int]] | None = None

    def add(self, info: PodInfo) -> None:
        self.state.nodes.add_pod(self.state.nodes.name(self.row), info)
        self._tell(info, 1)

    def remove(self, info: PodInfo) -> None:
        self.state.nodes.remove_pod(self.state.nodes.name(self.row), info.uid)
        self._tell(info, -1)

    def _tell(self, info: PodInfo, sign: int) -> None:
        self.done = [*(self.done or ()), (info, sign)]
        for plugin in self.profile.following:
            plugin.pod_changed(self.state, info, self.row, sign)

    def undo(self) -> None:
        for info, sign in reversed(self.done or ()):
            for plugin in self.profile.following:
                plugin.pod_changed(self.state, info, self.row, -sign)
        self.done = None

    def refusals(self) -> Sequence[Refusal]:
        """With the pods nominated to the node, and without them, as those may never come."""
        nominated = self._nominated()
        if nominated:
            found = self.with_nominated()
            if found:
                return found
        return self._filtered()

    def with_nominated(self) -> Sequence[Refusal]:
        nominated = self._nominated()
        for info in nominated:
            self.add(info)
        found = self._filtered()
        for info in nominated:
            self.remove(info)
        return found

    def _nominated(self) -> Sequence[PodInfo]:
        nodes = self.state.nodes
        there = nodes.nominations.get(nodes.name(self.row)) or {}
        return [info for info in there.values() if _goes_first(self.state.info, info)]

    def _filtered(self) -> Sequence[Refusal]:
        rows = np.array([self.row], dtype=np.int64)
        for plugin in self.profile.filter:
            if self.profile.name_of(plugin) in self.state.skipped:
                continue
            found = [refusal for refusal in plugin.filter(self.state, rows) if refusal.mask[0]]
            if found:
                return found
        return ()


def mask_of(rows: Ints, count: int) -> Mask:
    found = np.zeros(count, dtype=np.bool_)
    found[rows] = True
    return found

"""Decisions about many pods of one kind: what was found out for the last one is kept, and only what changed is redone.

For pods of the same likeness it is remembered which nodes pass the filters that look at a node alone, and what those
nodes score. The journal of `Nodes` tells which rows changed since; they alone are looked at again. Filters and scores
that depend on the whole cluster keep accounts in their notes, which follow the same journal. The choice is the one that
`cycle.choose` would make, as tests show; where no node passes, the filters are asked in full, for the diagnosis.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from timonel.scheduler import cycle, extendedresources
from timonel.scheduler.cycle import Unschedulable
from timonel.scheduler.framework import Diagnosis, Reads, State
from timonel.scheduler.nodes import Ints, Nodes
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.preemption import room
from timonel.scheduler.profile import Profile

KINDS = 256  # remembered at the same time
MOST_CHANGES = 4096  # from which on counting anew is cheaper
OUT = -(1 << 40)  # scored by nodes that do not pass


class Kind:
    """What is known for pods of one likeness. `state.notes` hold the accounts of plugins."""

    def __init__(self, profile: Profile, state: State) -> None:
        self.profile, self.state = profile, state
        self.epoch, self.mark = state.nodes.epoch, state.nodes.mark
        self.diagnosis = Diagnosis(state.count)
        self.diagnosis.unresolvable = np.zeros(state.count, dtype=np.bool_)
        self.rows = cycle.pre_filter(profile, state, self.diagnosis)  # worth looking at
        self._local = [p for p in profile.filter if profile.scope_of(p) in ("nodes", "row")]
        self._wide = [p for p in profile.filter if profile.scope_of(p) not in ("nodes", "row")]
        scores = [p for p in profile.score if profile.name_of(p) not in profile.normalizing]
        self._summed = [p for p in scores if profile.scope_of(p) in ("nodes", "row")]
        self._apart = [p for p in profile.score if p not in self._summed]
        self._base: Ints = np.full(state.count, OUT, dtype=np.int64)
        self._kept: dict[str, Any] = {}  # scores that are normalized and depend on nodes alone
        self._crowded: dict[
            int, list[str]
        ] = {}  # rows that pods are nominated to: what those leave too little of
        self._look(self.rows)

    def is_current(self) -> bool:
        """Brings the accounts up to date, if that is possible."""
        nodes = self.state.nodes
        if nodes.epoch != self.epoch:
            return False
        changes = nodes.since(self.mark)
        if changes is None or len(changes) > MOST_CHANGES:
            return False
        self.mark = nodes.mark
        if not changes:
            return True
        dirty: dict[int, None] = {}
        for row, info, sign in changes:
            dirty[row] = None
            if info is not None:
                for following in self.profile.following:
                    following.pod_changed(self.state, info, row, sign)
        for row in dirty:
            self._crowded.pop(row, None)
            for forgetting in self.profile.forgetting:
                forgetting.row_changed(self.state, row)
        rows = np.fromiter(dirty, np.int64, len(dirty))
        if len(self.rows) < self.state.count:
            rows = rows[np.isin(rows, self.rows)]
        if len(rows):
            self._look(rows)
        return True

    def _look(self, rows: Ints) -> None:
        """The filters and scores of nodes by themselves."""
        self._base[rows] = OUT
        left = np.ones(len(rows), dtype=np.bool_)
        for plugin in self._local:
            if self.profile.name_of(plugin) in self.state.skipped:
                continue
            for refusal in plugin.filter(self.state, rows):
                left &= ~refusal.mask
        rows = rows if left.all() else rows[left]
        if not len(rows):
            return
        total = np.zeros(len(rows), dtype=np.int64)
        for scoring in self._summed:
            scores = scoring.score(self.state, rows)
            if scores is not None:
                total += self.profile.weight_of(scoring) * self.profile.normalized(
                    scoring, self.state, rows, scores
                )
        self._base[rows] = total

    def choose(self) -> int:
        """The row of the best node, or -1."""
        measures, since = self.profile.measures, self.profile.measures.watch()
        rows = self._passing_wide()
        refused = self._refused_for_nominated()
        if refused:
            rows = np.flatnonzero(self._base > OUT) if rows is None else rows
            rows = rows[~np.isin(rows, refused)]
        if rows is None:
            rows = np.flatnonzero(self._base > OUT)
        if len(rows):  # where none is left the filters are asked again, for the diagnosis
            measures.point("Filter", self.profile.scheduler_name, since)
            rows = cycle.candidates(self.profile, self.state, self.rows, rows)
        if len(rows) < 2:
            return int(rows[0]) if len(rows) else -1
        added = self._added(rows)
        if added is None:
            best = int(np.argmax(self._base[rows])) if len(rows) else -1
            return int(rows[best]) if best >= 0 else -1
        return int(rows[np.argmax(self._base[rows] + added)])

    def _passing_wide(self) -> Ints | None:
        """Rows that also pass the filters that look at the whole cluster; None where there are none of those."""
        rows: Ints | None = None
        for plugin in self._wide:
            if self.profile.name_of(plugin) in self.state.skipped:
                continue
            if rows is None:
                rows = np.flatnonzero(self._base > OUT)
            left = np.ones(len(rows), dtype=np.bool_)
            for refusal in plugin.filter(self.state, rows):
                left &= ~refusal.mask
            rows = rows[left]
        return rows

    def _refused_for_nominated(self) -> list[int]:
        nodes = self.state.nodes
        if not nodes.nominations:
            return []
        rows = [nodes.row[node] for node in nodes.nominations if node in nodes.row]
        open_rows = [row for row in rows if self._base[row] > OUT]
        if not open_rows:
            return []
        by_room = cycle.lacks_only_room(self.profile, self.state)
        return [row for row in open_rows if (self._lacking(row) if by_room else self._refused(row))]

    def _lacking(self, row: int) -> list[str]:
        """What the pods nominated to a node, if they are as important, leave too little of for this one."""
        nodes, info = self.state.nodes, self.state.info
        own = nodes.nominated.get(info.uid)
        if own is not None and nodes.row.get(own[0]) == row:
            return room(nodes, info, row).lacking()  # what holds for this pod holds for no other
        known = self._crowded.get(row)
        if known is None:
            known = self._crowded[row] = room(nodes, info, row).lacking()
        return known

    def _refused(self, row: int) -> bool:
        at = np.array([row], dtype=np.int64)
        return bool(
            cycle.nominated_rows(self.state, at)
            and cycle.refusals_beside_nominated(self.profile, self.state, row)
        )

    def _added(self, rows: Ints) -> Ints | None:
        """What the scores add that depend on the other nodes; None where they add nothing."""
        if not len(rows):
            return None
        measures, since = self.profile.measures, self.profile.measures.watch()
        for preparing in self.profile.pre_score:
            preparing.pre_score(self.state, rows)
        measures.point("PreScore", self.profile.scheduler_name, since)
        since = measures.watch()
        total: Ints | None = None
        for plugin in self._apart:
            scores = self._raw(plugin, rows)
            if scores is not None:
                points = self.profile.weight_of(plugin) * self.profile.normalized(
                    plugin, self.state, rows, scores
                )
                total = points if total is None else total + points
        measures.point("Score", self.profile.scheduler_name, since)
        return total

    def _raw(self, plugin: Any, rows: Ints) -> Any:
        if self.profile.scope_of(plugin) != "nodes":
            return plugin.score(self.state, rows)
        name = self.profile.name_of(plugin)
        if name not in self._kept:
            self._kept[name] = plugin.score(self.state, np.arange(self.state.count))
        kept = self._kept[name]
        return None if kept is None else kept[rows]

    def explain(self) -> Unschedulable:
        """Why no node will do."""
        state, profile = self.state, self.profile
        known = self.diagnosis
        diagnosis = Diagnosis(
            state.count, known.reasons.copy(), set(known.plugins), known.rejected, known.unresolvable.copy()
        )
        if not diagnosis.rejected:
            rows = cycle.passing(profile, state, diagnosis, self.rows)
            if cycle.lacks_only_room(profile, state):
                diagnosis.reasons.update(reason for row in rows.tolist() for reason in self._lacking(row))
                if len(rows):
                    diagnosis.plugins.add(NodeResourcesFit.name)
            else:
                cycle.beside_nominated(profile, state, diagnosis, rows)
        cycle.post_filter(profile, state, diagnosis)
        return Unschedulable(diagnosis)


class Memory:
    """The kinds of one profile that were decided last."""

    def __init__(self, profile: Profile, nodes: Nodes, reads: Reads) -> None:
        self._profile, self._nodes, self._reads = profile, nodes, reads
        self._kinds: OrderedDict[bytes, Kind] = OrderedDict()

    def choose(self, info: PodInfo) -> tuple[State, int]:
        """The decision's state and row; raises Unschedulable."""
        state = State(info, self._nodes, self._reads)
        if (
            info.likeness is None
            or not len(self._nodes)
            or not self._profile.remembers
            or extendedresources.mapped(state)  # it will have a claim
        ):
            return state, cycle.choose(self._profile, state)
        try:
            kind = self._kind(info, info.likeness)
            row = -1 if kind.diagnosis.rejected else kind.choose()
            if row < 0:
                raise kind.explain()
        except Unschedulable:
            raise
        except Exception:  # of a plugin: what is remembered may be half done
            self._kinds.pop(info.likeness, None)
            raise
        return State(info, self._nodes, self._reads, dict(kind.state.notes), set(kind.state.skipped)), row

    def _kind(self, info: PodInfo, likeness: bytes) -> Kind:
        kind = self._kinds.get(likeness)
        if kind is not None:
            kind.state.info = info
            if kind.is_current():
                self._kinds.move_to_end(likeness)
                return kind
        kind = self._kinds[likeness] = Kind(self._profile, State(info, self._nodes, self._reads))
        self._kinds.move_to_end(likeness)
        if len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        return kind

"""Decisions about many pods of one kind: what was found out for the last one is kept, and only what changed is redone.

For pods of the same likeness it is remembered which nodes pass the filters that look at a node alone, and what those
nodes score. The journal of `Nodes` tells which rows changed since; they alone are looked at again. Filters and scores
that depend on the whole cluster keep accounts in their notes, which follow the same journal. The choice is the one that
`cycle.choose` would make, as tests show; where no node passes, the filters are asked in full, for the diagnosis.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from timonel.scheduler import cycle, extendedresources, failures
from timonel.scheduler.cycle import Unschedulable
from timonel.scheduler.framework import Diagnosis, Reads, State
from timonel.scheduler.measures import REFUSED, SUCCESS
from timonel.scheduler.nodes import Ints, Mask, Nodes
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.preemption import room
from timonel.scheduler.profile import Profile
from timonel.scheduler.refusals import Refusals

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
        asked = [p for p in profile.filter if profile.name_of(p) not in state.skipped]
        self._local = [p for p in asked if profile.scope_of(p) in ("nodes", "row")]
        self._wide = [p for p in asked if profile.scope_of(p) not in ("nodes", "row")]
        scores = [p for p in profile.score if profile.name_of(p) not in profile.normalizing]
        self._summed = [p for p in scores if profile.scope_of(p) in ("nodes", "row")]
        self._apart = [p for p in profile.score if p not in self._summed]
        self._base: Ints = np.full(state.count, OUT, dtype=np.int64)
        self._refusals = Refusals(state.count)
        self._kept: dict[str, Any] = {}  # scores that are normalized and depend on nodes alone
        self._asks_for_room_alone = cycle.asks_for_room_alone(profile, state)
        # What pods nominated to a row leave too little of, where it would pass without them; all of it; and where.
        self._crowded: dict[int, list[str]] = {}
        self._crowd: Counter[str] = Counter()
        self._is_crowded: Mask = np.zeros(state.count, dtype=np.bool_)
        self._look(self.rows)
        self._look_at_nominated(state.nodes.row[n] for n in state.nodes.nominations if n in state.nodes.row)

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
        dirty: dict[int, bool] = {}  # whether there are other pods on it; else it is nominations alone
        for row, info, sign in changes:
            if info is None:
                dirty.setdefault(row, False)
                continue
            dirty[row] = True
            self.profile.follow(self.state, info, row, sign)
        for row in dirty:
            for forgetting in self.profile.forgetting:
                forgetting.row_changed(self.state, row)
        rows = np.array([row for row, has_others in dirty.items() if has_others], dtype=np.int64)
        if len(self.rows) < self.state.count:
            rows = rows[np.isin(rows, self.rows)]
        if len(rows):
            self._look(rows)
        self._look_at_nominated(dirty)
        return True

    def _look(self, rows: Ints) -> None:
        """The filters and scores of nodes by themselves."""
        self._base[rows] = OUT
        self._refusals.forget(rows)
        for plugin in self._local:
            name = self.profile.name_of(plugin)
            try:
                rows = self._refusals.note(name, rows, plugin.filter(self.state, rows))
            except Exception as exc:
                raise failures.at_filter(name, exc) from exc
            if not len(rows):
                return
        total = np.zeros(len(rows), dtype=np.int64)
        for scoring in self._summed:
            scores = self.profile.scored(scoring, self.state, rows)
            if scores is not None:
                total += self.profile.weight_of(scoring) * self.profile.normalized(
                    scoring, self.state, rows, scores
                )
        self._base[rows] = total

    def _look_at_nominated(self, rows: Iterable[int]) -> None:
        """What pods that are nominated to these rows, and as important as this kind, leave too little of."""
        nodes = self.state.nodes
        if not self._asks_for_room_alone or not (nodes.nominations or self._crowded):
            return
        for row in rows:
            before = self._crowded.pop(row, None)
            if before is not None:
                self._crowd.subtract(before)
                self._is_crowded[row] = False
            if self._base[row] > OUT and nodes.name(row) in nodes.nominations:
                lacking = room(nodes, self.state.info, row, for_another=True).lacking()
                if lacking:
                    self._crowded[row] = lacking
                    self._crowd.update(lacking)
                    self._is_crowded[row] = True

    def choose(self) -> int:
        """The row of the best node, or -1."""
        measures, since = self.profile.measures, self.profile.measures.watch()
        own = cycle.nomination_of(self.state)
        if own >= 0 and self._passes(own):
            measures.point("Filter", self.profile.scheduler_name, since)
            return own
        rows = self._passing()
        if len(rows):  # where none is left the filters are asked again, for the diagnosis
            measures.point("Filter", self.profile.scheduler_name, since)
            rows = cycle.sample(self.profile, self.state, self.rows, rows)
        if len(rows) < 2:
            return int(rows[0]) if len(rows) else -1
        added = self._added(rows)
        scores = self._base[rows] if added is None else self._base[rows] + added
        return int(rows[np.argmax(scores)])

    def _passes(self, own: int) -> bool:
        """Whether the row that this pod is nominated to will do."""
        if self._base[own] == OUT or self._is_refused_for_nominated(own):
            return False
        return bool(len(self._passing_wide(np.array([own], dtype=np.int64))))

    def _passing(self) -> Ints:
        if self._lacks_only_room and self._crowded:
            return self._passing_wide(np.flatnonzero((self._base > OUT) & ~self._is_crowded))
        rows = self._passing_wide(np.flatnonzero(self._base > OUT))
        nodes = self.state.nodes
        if not nodes.nominations or self._lacks_only_room:
            return rows
        nominated = [nodes.row[node] for node in nodes.nominations if node in nodes.row]
        refused = [row for row in nominated if self._base[row] > OUT and self._refused(row)]
        return rows[~np.isin(rows, refused)] if refused else rows

    def _passing_wide(self, rows: Ints) -> Ints:
        """Those of the rows that also pass the filters that look at the whole cluster."""
        for plugin in self._wide:
            left = np.ones(len(rows), dtype=np.bool_)
            try:
                for refusal in plugin.filter(self.state, rows):
                    left &= ~refusal.mask
            except Exception as exc:
                raise failures.at_filter(self.profile.name_of(plugin), exc) from exc
            rows = rows[left]
        return rows

    @property
    def _lacks_only_room(self) -> bool:
        return self._asks_for_room_alone and not self.state.nodes.nominated_repelling

    def _is_refused_for_nominated(self, own: int) -> bool:
        """Of the row that this pod is nominated to: what holds for this pod holds for no other."""
        if self._lacks_only_room:
            return bool(own in self._crowded and room(self.state.nodes, self.state.info, own).lacking())
        return self._refused(own)

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
        self.profile.prepare_scores(self.state, rows)
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
            return self.profile.scored(plugin, self.state, rows)
        name = self.profile.name_of(plugin)
        if name not in self._kept:
            self._kept[name] = self.profile.scored(plugin, self.state, np.arange(self.state.count))
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
            rows = self._told(diagnosis)
            if not self._lacks_only_room:
                cycle.beside_nominated(profile, state, diagnosis, rows)
            elif len(rows):
                self._tell_of_crowds(diagnosis)
        cycle.post_filter(profile, state, diagnosis)
        return Unschedulable(diagnosis)

    def _told(self, diagnosis: Diagnosis) -> Ints:
        """What all filters say; the rows that none of them refuses."""
        if self._wide:  # they stand among the others: who is told depends on the order
            return cycle.passing(self.profile, self.state, diagnosis, self.rows)
        measures, since = self.profile.measures, self.profile.measures.watch()
        rows = self._refusals.tell(diagnosis, self.rows)
        measures.point("Filter", self.profile.scheduler_name, since, SUCCESS if len(rows) else REFUSED)
        return rows

    def _tell_of_crowds(self, diagnosis: Diagnosis) -> None:
        diagnosis.plugins.add(NodeResourcesFit.name)
        reasons, own = self._crowd.copy(), cycle.nomination_of(self.state)
        if own in self._crowded:  # which is less crowded for the pod itself
            reasons.subtract(self._crowded[own])
            reasons.update(room(self.state.nodes, self.state.info, own).lacking())
        diagnosis.reasons.update(+reasons)


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

"""One decision about one pod: which node, or why none. Pure: no I/O, no clock.

Upstream: pkg/scheduler/schedule_one.go (schedulePod, findNodesThatFitPod, prioritizeNodes, selectHost), and
runtime/framework.go (RunFilterPluginsWithNominatedPods).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from timonel.records import dataclass
from timonel.scheduler import failures
from timonel.scheduler.framework import Diagnosis, Nomination, Refusal, Rejected, Skip, State
from timonel.scheduler.measures import REFUSED, SUCCESS
from timonel.scheduler.nodes import Ints, Mask
from timonel.scheduler.plugins.node_resources_fit import NodeResourcesFit
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.profile import Profile
from timonel.scheduler.sampling import enough, sampled


class Unschedulable(Exception):
    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


def refused(exc: Exception, plugin: str) -> Exception:
    """What it means that a plugin refused the one node that was chosen, or failed on it."""
    if not isinstance(exc, Rejected):
        return exc
    diagnosis = Diagnosis(1, Counter({exc.reason: 1}), {plugin}, nomination=Nomination(""))
    return Unschedulable(diagnosis)


def choose(profile: Profile, state: State) -> int:
    """The row of the best node; raises Unschedulable."""
    diagnosis = Diagnosis(state.count)
    if not state.count:
        diagnosis.nomination = Nomination("")
        raise Unschedulable(diagnosis)
    rows = feasible(profile, state, diagnosis)
    if not len(rows):
        post_filter(profile, state, diagnosis)
        raise Unschedulable(diagnosis)
    rows = candidates(profile, state, diagnosis.looked_at, rows)
    if len(rows) == 1:
        return int(rows[0])
    return int(rows[np.argmax(score(profile, state, rows))])


def feasible(profile: Profile, state: State, diagnosis: Diagnosis) -> Ints:
    """The rows that all filters let pass; `diagnosis` is told about the others."""
    diagnosis.unresolvable = np.zeros(state.count, dtype=np.bool_)
    diagnosis.looked_at = pre_filter(profile, state, diagnosis)
    rows = passing(profile, state, diagnosis, diagnosis.looked_at)
    return beside_nominated(profile, state, diagnosis, rows)


def candidates(profile: Profile, state: State, looked_at: Ints, rows: Ints) -> Ints:
    """Those of the rows that pass which are scored: the node that the pod is nominated to, if it is one of them."""
    own = nomination_of(state)
    if own >= 0 and own in rows:
        return np.array([own], dtype=np.int64)
    return sample(profile, state, looked_at, rows)


def sample(profile: Profile, state: State, looked_at: Ints, rows: Ints) -> Ints:
    """As many of the rows that pass as the profile wants to be scored."""
    if profile.percentage is None:
        return rows
    wanted = enough(profile.percentage, len(looked_at))
    rows, seen = sampled(looked_at, rows, state.nodes.turn, wanted)
    state.nodes.turn = (state.nodes.turn + seen) % state.count
    return rows


def nomination_of(state: State) -> int:
    """The row that others have made room on for this pod, or -1."""
    found = state.nodes.nominated.get(state.info.uid)
    return -1 if found is None else state.nodes.row.get(found[0], -1)


def passing(profile: Profile, state: State, diagnosis: Diagnosis, rows: Ints) -> Ints:
    """Those of the rows that no filter refuses."""
    since = profile.measures.watch()
    for filtering in profile.filter:
        if not len(rows):
            break
        if profile.name_of(filtering) in state.skipped:
            continue
        left = np.ones(len(rows), dtype=np.bool_)
        try:
            for refusal in filtering.filter(state, rows):
                if not refusal.mask.any():
                    continue
                refuse(diagnosis, rows[refusal.mask], refusal)
                diagnosis.plugins.add(profile.name_of(filtering))
                left &= ~refusal.mask
        except Exception as exc:
            raise failures.at_filter(profile.name_of(filtering), exc) from exc
        if not left.all():
            rows = rows[left]
    profile.measures.point("Filter", profile.scheduler_name, since, SUCCESS if len(rows) else REFUSED)
    return rows


def pre_filter(profile: Profile, state: State, diagnosis: Diagnosis) -> Ints:
    """The rows worth looking at; empty if a plugin has rejected the pod."""
    since = profile.measures.watch()
    rows = _narrowed(profile, state, diagnosis)
    status = REFUSED if diagnosis.rejected else SUCCESS
    profile.measures.point("PreFilter", profile.scheduler_name, since, status)
    return rows


def _narrowed(profile: Profile, state: State, diagnosis: Diagnosis) -> Ints:
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
        except Exception as exc:
            raise failures.at_point("PreFilter", profile.name_of(plugin), exc) from exc
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
    """Asks who may help where no node will do."""
    since = profile.measures.watch()
    _help(profile, state, diagnosis)
    helped = diagnosis.nomination is not None and diagnosis.nomination.node
    profile.measures.point("PostFilter", profile.scheduler_name, since, SUCCESS if helped else REFUSED)


def _help(profile: Profile, state: State, diagnosis: Diagnosis) -> None:
    diagnosis.lacks_only_room = lacks_only_room(profile, state)
    if not profile.post_filter:
        diagnosis.nomination = Nomination("")
    said: list[str] = []
    for plugin in profile.post_filter:
        try:
            found = plugin.post_filter(state, diagnosis, Suppositions(profile, state))
        except (
            Exception
        ) as exc:  # as upstream: the pod is unschedulable all the same, and this is why nobody helped
            diagnosis.failure, diagnosis.post_filter = exc, failures.said(exc)
            return
        if found.nomination is not None:
            diagnosis.nomination = found.nomination
            if found.nomination.node:
                diagnosis.post_filter, diagnosis.said = "", said
                diagnosis.candidates = found.candidates
                return
        if found.work is not None:
            diagnosis.work.append(found.work)
        if found.message:
            said.append(found.message)
        if found.final:
            break
    diagnosis.post_filter = ", ".join(said)


def lacks_only_room(profile: Profile, state: State) -> bool:
    """Whether no filter but NodeResourcesFit can have something against a node that is not hopeless."""
    return not state.nodes.nominated_repelling and asks_for_room_alone(profile, state)


def asks_for_room_alone(profile: Profile, state: State) -> bool:
    """As `lacks_only_room`, as long as no pod is nominated that keeps others away."""
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
    measures = profile.measures
    since = measures.watch()
    profile.prepare_scores(state, rows)
    measures.point("PreScore", profile.scheduler_name, since)
    since = measures.watch()
    for plugin in profile.score:
        scores = profile.scored(plugin, state, rows)
        if scores is not None:
            total += profile.weight_of(plugin) * profile.normalized(plugin, state, rows, scores)
    measures.point("Score", profile.scheduler_name, since)
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
        self.profile.follow(self.state, info, self.row, sign)

    def undo(self) -> None:
        for info, sign in reversed(self.done or ()):
            self.profile.follow(self.state, info, self.row, -sign)
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
            try:
                found = [refusal for refusal in plugin.filter(self.state, rows) if refusal.mask[0]]
            except Exception as exc:
                raise failures.at_filter(self.profile.name_of(plugin), exc) from exc
            if found:
                return found
        return ()


def mask_of(rows: Ints, count: int) -> Mask:
    found = np.zeros(count, dtype=np.bool_)
    found[rows] = True
    return found

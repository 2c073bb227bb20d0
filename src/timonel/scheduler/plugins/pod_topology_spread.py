"""PodTopologySpread: pods of a kind are spread over the domains of a topology; some constraints forbid, others score.

Upstream: pkg/scheduler/framework/plugins/podtopologyspread/{filtering,scoring}.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timonel.machinery.selectors import from_label_selector
from timonel.objects.meta import Object, labels_of
from timonel.records import dataclass
from timonel.scheduler.domains import Domains
from timonel.scheduler.framework import MAX_SCORE, Refusal, Skip, State
from timonel.scheduler.nodematch import match_labels, match_terms
from timonel.scheduler.nodes import MISSING, Ints, Mask
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.spreading import HOSTNAME, SYSTEM_DEFAULTS, Constraint, constraints_of
from timonel.scheduler.tolerations import tolerates

REASON = "node(s) didn't match pod topology spread constraints"
MISSING_LABEL = f"{REASON} (missing required label)"


@dataclass(slots=True)
class _Counted:
    """A constraint with the pods that it means."""

    constraint: Constraint
    domains: Domains
    nodes: Mask  # whose pods count
    present: Ints  # the domains of those nodes
    itself: int  # 1 if it means the pod that is to be placed

    def change(self, info: PodInfo, namespace: str, row: int, sign: int) -> None:
        if self.nodes[row] and _is_meant(
            self.constraint, namespace, info.key.namespace, info.pod, info.deleting
        ):
            self.domains.add({row: sign})


@dataclass(slots=True)
class _Scoring:
    counted: list[_Counted]
    ignored: Mask  # nodes that lack a label
    weights: list[float] = field(default_factory=list)


class PodTopologySpread:
    name = "PodTopologySpread"
    scope = "cluster"
    events = frozenset(
        {
            "node-added",
            "node-changed",
            "node-deleted",
            "pod-added",
            "pod-deleted",
            "pod-changed",
            "pod-labels-changed",
        }
    )

    def __init__(self, defaults: Sequence[Mapping[str, Any]] | None = None) -> None:
        """`defaults`: constraints for pods that have none; None takes those of the system."""
        self._systems = defaults is None
        self._defaults = SYSTEM_DEFAULTS if defaults is None else tuple(defaults)

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of pods, those help that a constraint means; of nodes, those with all the labels, or that had them."""
        constraints = [
            c
            for c in info.spec.get("topologySpreadConstraints") or ()
            if c["whenUnsatisfiable"] == "DoNotSchedule"
        ]
        if not constraints or event == "pod-changed":
            return True
        if event.startswith("node-"):
            keys = {c["topologyKey"] for c in constraints}
            return any(node is not None and keys <= labels_of(node).keys() for node in (old, new))
        return any(
            pod is not None
            and pod["metadata"].get("namespace", "") == info.key.namespace
            and any(from_label_selector(c.get("labelSelector")).matches(labels_of(pod)) for c in constraints)
            for pod in (old, new)
        )

    def pre_filter(self, state: State) -> set[str] | None:
        constraints = constraints_of(state.info.pod, state.reads, "DoNotSchedule", self._defaults)
        state.notes[self.name] = self._count(state, constraints, _complete(state, constraints))
        if not constraints:
            raise Skip
        return None

    def pod_changed(self, state: State, info: PodInfo, row: int, sign: int) -> None:
        namespace = state.info.key.namespace
        for counted in state.notes.get(self.name) or ():
            counted.change(info, namespace, row, sign)
        scoring: _Scoring | None = state.notes.get(_SCORING)
        if scoring is not None:
            for counted in scoring.counted:
                counted.change(info, namespace, row, sign)

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        many: list[_Counted] = state.notes[self.name]
        missing = np.zeros(len(rows), dtype=np.bool_)
        skewed = np.zeros(len(rows), dtype=np.bool_)
        for counted in many:
            domains, present = counted.domains, counted.present
            missing |= (domains.column[rows] == MISSING) & ~skewed
            enough = len(present) >= counted.constraint.min_domains
            least = int(domains.counts[present].min()) if len(present) and enough else 0
            skewed |= (domains.at(rows) + counted.itself - least > counted.constraint.max_skew) & ~missing
        yield Refusal(missing, MISSING_LABEL)
        yield Refusal(skewed, REASON, resolvable=True)

    def pre_score(self, state: State, rows: Ints) -> None:
        scoring: _Scoring | None = state.notes.get(_SCORING)
        if scoring is None:
            scoring = state.notes[_SCORING] = self._scoring(state)
        if not scoring.counted:
            return
        scored = rows[~scoring.ignored[rows]]
        scoring.weights = [math.log(_size(counted, scored) + 2) for counted in scoring.counted]

    def _scoring(self, state: State) -> _Scoring:
        constraints = constraints_of(state.info.pod, state.reads, "ScheduleAnyway", self._defaults)
        needs_all = bool(state.info.spec.get("topologySpreadConstraints")) or not self._systems
        complete = _complete(state, constraints)
        everywhere = np.ones(state.count, dtype=np.bool_)
        ignored = ~complete if needs_all else np.zeros(state.count, dtype=np.bool_)
        return _Scoring(self._count(state, constraints, complete if needs_all else everywhere), ignored)

    def score(self, state: State, rows: Ints) -> NDArray[Any] | None:
        scoring: _Scoring = state.notes[_SCORING]
        if not scoring.counted:
            return None
        total = np.zeros(len(rows), dtype=np.float64)
        for counted, weight in zip(scoring.counted, scoring.weights, strict=True):
            there = counted.domains.column[rows] != MISSING
            points = counted.domains.at(rows) * weight + (counted.constraint.max_skew - 1)
            total += np.where(there, points, 0.0)
        rounded: NDArray[Any] = np.floor(total + 0.5).astype(np.int64)
        return np.where(scoring.ignored[rows], 0, rounded)

    def normalize(self, state: State, rows: Ints, scores: Ints) -> Ints:
        scored = ~state.notes[_SCORING].ignored[rows]
        if not scored.any():
            return np.zeros(len(rows), dtype=np.int64)
        low, high = int(scores[scored].min()), int(scores[scored].max())
        if high == 0:
            return np.where(scored, MAX_SCORE, 0)
        return np.where(scored, MAX_SCORE * (high + low - scores) // high, 0)

    def _count(self, state: State, constraints: Sequence[Constraint], complete: Mask) -> list[_Counted]:
        return [_counted(state, constraint, complete) for constraint in constraints]


_SCORING = "PodTopologySpread.scoring"


def _size(counted: _Counted, rows: Ints) -> int:
    """Of how many domains the scored nodes are."""
    if counted.constraint.topology_key == HOSTNAME:
        return len(rows)
    domains = counted.domains.column[rows]
    return int(np.count_nonzero(np.bincount(domains[domains != MISSING])))


def _complete(state: State, constraints: Iterable[Constraint]) -> Mask:
    """Nodes that have all the labels."""
    complete: Mask = np.ones(state.count, dtype=np.bool_)
    for constraint in constraints:
        complete &= state.nodes.labels(constraint.topology_key).column != MISSING
    return complete


def _counted(state: State, constraint: Constraint, complete: Mask) -> _Counted:
    domains, namespace = Domains.of(state.nodes, constraint.topology_key), state.info.key.namespace
    nodes = complete & _eligible(state, constraint)
    for group in state.nodes.groups.values():
        if _is_meant(constraint, namespace, group.namespace, group.sample, group.deleting):
            domains.add({row: count for row, count in group.rows.items() if nodes[row]})
    column = domains.column[nodes]
    return _Counted(
        constraint,
        domains,
        nodes,
        np.unique(column[column != MISSING]),
        int(constraint.selector.matches(labels_of(state.info.pod))),
    )


def _is_meant(constraint: Constraint, namespace: str, of: str, pod: Object, deleting: bool) -> bool:
    return namespace == of and not deleting and constraint.selector.matches(labels_of(pod))


def _eligible(state: State, constraint: Constraint) -> Mask:
    """Nodes that count: those that the pod could choose by its selector, and by its tolerations if it says so."""
    mask: Mask = np.ones(state.count, dtype=np.bool_)
    spec = state.info.spec
    if constraint.honors_affinity:
        mask &= match_labels(state.nodes, spec.get("nodeSelector") or {})
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        if required is not None:
            mask &= match_terms(state.nodes, required.get("nodeSelectorTerms") or ())
    if constraint.honors_taints:
        tolerations = spec.get("tolerations") or ()
        tolerated = [
            all(effect == "PreferNoSchedule" or tolerates(tolerations, (key, value, effect))
                for key, value, effect in taints)
            for taints in state.nodes.taint_sets
        ]  # fmt: skip
        mask &= np.array(tolerated, dtype=np.bool_)[state.nodes.taints[: state.count]]
    return mask

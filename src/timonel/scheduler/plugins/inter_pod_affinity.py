"""InterPodAffinity: near pods, or apart from them, within a topology; what runs already has its say too.

What is counted per domain is kept in notes and brought up to date pod by pod (`pod_changed`), so that the next pod of
the same kind, or a supposition, costs no new count.

Upstream: pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

import numpy as np

from timonel.objects.meta import Key, Object, labels_of
from timonel.records import dataclass
from timonel.scheduler.affinityterms import NamespaceLabels, Term, Terms
from timonel.scheduler.domains import Domains
from timonel.scheduler.framework import MAX_SCORE, Refusal, Skip, State
from timonel.scheduler.nodes import MISSING, Group, Ints, Mask
from timonel.scheduler.podinfo import PodInfo

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
HARD_WEIGHT = 1  # what a running pod's required affinity counts for in scoring


@dataclass(slots=True)
class _Account:
    """Of one pod: what its own terms and those of others amount to."""

    near: list[Domains] = field(default_factory=list)  # along its terms: pods that all of them mean
    apart: list[Domains] = field(default_factory=list)  # along its terms: pods that this one means
    existing: dict[str, Domains] = field(default_factory=dict)  # by topology key: terms that mean this pod
    score: dict[str, Domains] = field(default_factory=dict)


class InterPodAffinity:
    name = "InterPodAffinity"
    scope = "cluster"
    events = frozenset(
        {"node-added", "node-changed", "pod-added", "pod-deleted", "pod-changed", "pod-labels-changed"}
    )

    def __init__(self, *, hard_weight: int = HARD_WEIGHT, ignore_preferred_of_existing: bool = False) -> None:
        self._hard_weight, self._ignore_preferred = hard_weight, ignore_preferred_of_existing

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of pods, those help that a required term of this one means, or that keep others away themselves."""
        if event not in ("pod-added", "pod-deleted", "pod-labels-changed"):
            return True
        required = (*info.terms.near, *info.terms.apart)
        for pod in (old, new):
            if pod is None:
                continue
            anti = (pod["spec"].get("affinity") or {}).get("podAntiAffinity")
            if anti or any(term.selector.matches(labels_of(pod)) for term in required):
                return True
        return old is None and new is None

    def pre_filter(self, state: State) -> set[str] | None:
        nodes, own = state.nodes, state.info.terms
        account = _Account(
            near=[Domains.of(nodes, term.topology_key) for term in own.near],
            apart=[Domains.of(nodes, term.topology_key) for term in own.apart],
        )
        state.notes[self.name] = account
        looks_around = own.near or own.apart or own.rather_near or own.rather_apart
        groups: Iterable[Group] = (
            nodes.groups if looks_around else {**nodes.repelling, **nodes.attracting}
        ).values()
        for group in list(groups):
            self._count(state, account, group.sample, group.terms, group.rows)
        if not account.near and not account.apart and not account.existing:
            raise Skip
        return None

    def pod_changed(self, state: State, info: PodInfo, row: int, sign: int) -> None:
        account: _Account | None = state.notes.get(self.name)
        if account is not None:
            self._count(state, account, info.pod, info.terms, {row: sign})

    def _count(
        self, state: State, account: _Account, pod: Object, terms: Terms, rows: Mapping[int, int]
    ) -> None:
        """What pods of this kind on these rows mean for the pod to be placed, and it for them."""
        own, me, labels = state.info.terms, state.info.pod, _Namespaces(state)
        if own.near and all(term.means(pod, labels) for term in own.near):
            for domains in account.near:
                domains.add(rows)
        for term, domains in zip(own.apart, account.apart, strict=True):
            if term.means(pod, labels):
                domains.add(rows)
        for term in terms.apart:
            if term.means(me, labels):
                state.skipped.discard(self.name)
                _domains(state, account.existing, term).add(rows)
        for weight, term in self._weighted(own, terms, me, pod, labels):
            _domains(state, account.score, term).add(rows, weight)

    def _weighted(
        self, own: Terms, terms: Terms, me: Object, pod: Object, labels: NamespaceLabels
    ) -> Iterable[tuple[int, Term]]:
        for sign, mine in ((1, own.rather_near), (-1, own.rather_apart)):
            for term in mine:
                if term.means(pod, labels):
                    yield sign * term.weight, term
        if self._ignore_preferred and not (own.rather_near or own.rather_apart):
            return
        if self._hard_weight:
            for term in terms.near:
                if term.means(me, labels):
                    yield self._hard_weight, term
        for sign, theirs in ((1, terms.rather_near), (-1, terms.rather_apart)):
            for term in theirs:
                if term.means(me, labels):
                    yield sign * term.weight, term

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        account: _Account = state.notes[self.name]
        left = np.ones(len(rows), dtype=np.bool_)
        if account.near:
            mask = ~_near(state, account, rows)
            yield Refusal(mask, AFFINITY)
            left &= ~mask
        if account.apart:
            mask = _any_counted(account.apart, rows) & left
            yield Refusal(mask, ANTI_AFFINITY, resolvable=True)
            left &= ~mask
        if account.existing:
            yield Refusal(_any_counted(account.existing.values(), rows) & left, EXISTING, resolvable=True)

    def score(self, state: State, rows: Ints) -> Ints | None:
        account: _Account = state.notes[self.name]
        if not account.score:
            return None
        total = np.zeros(len(rows), dtype=np.int64)
        for domains in account.score.values():
            total += domains.at(rows)
        return total

    def normalize(self, state: State, rows: Ints, scores: Ints) -> Ints:
        low, high = int(scores.min()), int(scores.max())
        if low == high:
            return np.zeros(len(scores), dtype=np.int64)
        found: Ints = (MAX_SCORE * ((scores - low) / (high - low))).astype(np.int64)
        return found


@dataclass(frozen=True, slots=True)
class _Namespaces:
    state: State

    def __call__(self, name: str) -> Mapping[str, str]:
        found = self.state.reads.get("namespaces", Key("", name))
        return labels_of(found) if found is not None else {}


def _domains(state: State, table: dict[str, Domains], term: Term) -> Domains:
    found = table.get(term.topology_key)
    if found is None:
        found = table[term.topology_key] = Domains.of(state.nodes, term.topology_key)
    return found


def _near(state: State, account: _Account, rows: Ints) -> Mask:
    """Nodes with a pod that all terms mean in the domain of each; the first of a group need not wait for itself."""
    has_keys = np.ones(len(rows), dtype=np.bool_)
    mask = np.ones(len(rows), dtype=np.bool_)
    found = False
    for domains in account.near:
        has_keys &= domains.column[rows] != MISSING
        mask &= domains.at(rows) > 0
        found = found or bool((domains.counts > 0).any())
    mask &= has_keys
    if not found and not mask.any() and _means_itself(state):
        return has_keys
    return mask


def _means_itself(state: State) -> bool:
    labels: Callable[[str], Mapping[str, str]] = _Namespaces(state)
    return all(term.means(state.info.pod, labels) for term in state.info.terms.near)


def _any_counted(many: Iterable[Domains], rows: Ints) -> Mask:
    mask = np.zeros(len(rows), dtype=np.bool_)
    for domains in many:
        mask |= domains.at(rows) > 0
    return mask

"""InterPodAffinity: near pods, or apart from them, within a topology; what runs already has its say too.

Upstream: pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from timonel.objects.meta import Key, labels_of
from timonel.scheduler.affinityterms import Term
from timonel.scheduler.framework import MAX_SCORE, Refusal, State
from timonel.scheduler.nodes import MISSING, Ints, Mask

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
HARD_WEIGHT = 1  # what a running pod's required affinity counts for in scoring


@dataclass(frozen=True, slots=True)
class _Namespaces:
    state: State

    def __call__(self, name: str) -> Mapping[str, str]:
        found = self.state.reads.get("namespaces", Key("", name))
        return labels_of(found) if found is not None else {}


class InterPodAffinity:
    name = "InterPodAffinity"
    events = frozenset({"node-added", "node-changed", "pod-added", "pod-deleted", "pod-changed"})

    def filter(self, state: State) -> Iterable[Refusal]:
        terms = state.info.terms
        refused = np.zeros(state.count, dtype=np.bool_)
        if terms.near:
            mask = ~_near(state)
            yield Refusal(mask, AFFINITY)
            refused |= mask
        if terms.apart:
            mask = _apart(state) & ~refused
            yield Refusal(mask, ANTI_AFFINITY, resolvable=True)
            refused |= mask
        if state.nodes.repelling:
            yield Refusal(_repelled(state) & ~refused, EXISTING, resolvable=True)

    def score(self, state: State, rows: Ints) -> Ints | None:
        own = state.info.terms
        if not own.rather_near and not own.rather_apart and not state.nodes.attracting:
            return None
        scores = np.zeros(state.count, dtype=np.int64)
        namespaces = _Namespaces(state)
        if own.rather_near or own.rather_apart:
            for row in range(state.count):
                for info in state.nodes.pods[row].values():
                    for sign, terms in ((1, own.rather_near), (-1, own.rather_apart)):
                        for term in terms:
                            if term.means(info.pod, namespaces):
                                scores[_same_domain(state, term, row)] += sign * term.weight
        for node, info in state.nodes.attracting.values():
            row = state.nodes.row[node]
            weighted = [(HARD_WEIGHT, term) for term in info.terms.near]
            weighted += [(term.weight, term) for term in info.terms.rather_near]
            weighted += [(-term.weight, term) for term in info.terms.rather_apart]
            for weight, term in weighted:
                if term.means(state.info.pod, namespaces):
                    scores[_same_domain(state, term, row)] += weight
        return _spread(scores[rows])


def _near(state: State) -> Mask:
    """Nodes with a pod that all terms mean in the domain of each; the first of a group need not wait for itself."""
    terms, namespaces = state.info.terms.near, _Namespaces(state)
    has_keys = np.ones(state.count, dtype=np.bool_)
    for term in terms:
        has_keys &= state.nodes.labels(term.topology_key).column != MISSING
    meant = [
        row
        for row in range(state.count)
        if any(
            all(term.means(info.pod, namespaces) for term in terms) for info in state.nodes.pods[row].values()
        )
    ]
    mask = has_keys.copy()
    found = False
    for term in terms:
        column = state.nodes.labels(term.topology_key).column
        domains = column[meant][column[meant] != MISSING]
        found = found or bool(len(domains))
        mask &= np.isin(column, domains)
    if not found and all(term.means(state.info.pod, namespaces) for term in terms):
        return has_keys
    return mask


def _apart(state: State) -> Mask:
    """Nodes in a domain of which some pod is meant by a term."""
    mask, namespaces = np.zeros(state.count, dtype=np.bool_), _Namespaces(state)
    for term in state.info.terms.apart:
        column = state.nodes.labels(term.topology_key).column
        meant = [
            row
            for row in range(state.count)
            if any(term.means(info.pod, namespaces) for info in state.nodes.pods[row].values())
        ]
        mask |= np.isin(column, column[meant][column[meant] != MISSING])
    return mask


def _repelled(state: State) -> Mask:
    mask, namespaces = np.zeros(state.count, dtype=np.bool_), _Namespaces(state)
    for node, info in state.nodes.repelling.values():
        for term in info.terms.apart:
            if term.means(state.info.pod, namespaces):
                mask |= _same_domain(state, term, state.nodes.row[node])
    return mask


def _same_domain(state: State, term: Term, row: int) -> Mask:
    column = state.nodes.labels(term.topology_key).column
    mask: Mask = (column == column[row]) & (column != MISSING)
    return mask


def _spread(scores: Ints) -> Ints:
    low, high = int(scores.min()), int(scores.max())
    if low == high:
        return np.zeros(len(scores), dtype=np.int64)
    return MAX_SCORE * (scores - low) // (high - low)

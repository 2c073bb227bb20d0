"""NodeAffinity: nodeSelector and required terms filter, preferred terms score.

Terms that all name their node by metadata.name (as DaemonSets' pods do) narrow the search before it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from timonel.objects.meta import Object
from timonel.scheduler.framework import Refusal, Rejected, Skip, State, normalized
from timonel.scheduler.nodematch import match_labels, match_term, match_terms, node_matches
from timonel.scheduler.nodes import Ints, Mask
from timonel.scheduler.podinfo import PodInfo

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
REASON = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity:
    name = "NodeAffinity"
    scope = "nodes"
    events = frozenset({"node-added", "node-changed"})

    def __init__(self, added: Mapping[str, Any] | None = None) -> None:
        """`added`: a node affinity that all pods of the profile get besides their own."""
        required = (added or {}).get(REQUIRED)
        self._added_required = None if required is None else required.get("nodeSelectorTerms") or ()
        self._added_preferred = tuple((added or {}).get(PREFERRED) or ())

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """A node helps that the pod may have, and before could not."""
        if new is None:
            return True
        return self._may_have(info, new) and (old is None or not self._may_have(info, old))

    def _may_have(self, info: PodInfo, node: Object) -> bool:
        if self._added_required is not None and not node_matches(node, {}, self._added_required):
            return False
        return node_matches(node, info.spec.get("nodeSelector") or {}, _terms(info))

    def pre_filter(self, state: State) -> set[str] | None:
        terms = _required(state)
        if terms is None and not state.info.spec.get("nodeSelector") and self._added_required is None:
            raise Skip
        if not terms:
            return None
        named: set[str] = set()
        for term in terms:
            names = _names(term)
            if names is None:
                return None
            named |= names
        if not named:
            raise Rejected("pod affinity terms conflict")
        return named

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        enforced = np.ones(len(rows), dtype=np.bool_)
        added = self._added_required
        if added is not None:
            enforced = state.once("NodeAffinity.added", lambda: match_terms(state.nodes, added))[rows]
            yield Refusal(~enforced, ENFORCED)
        selector, terms = state.info.spec.get("nodeSelector"), _required(state)
        if selector or terms is not None:
            matches = state.once("NodeAffinity", lambda: _matches(state, selector or {}, terms))
            yield Refusal(~matches[rows] & enforced, REASON)

    def score(self, state: State, rows: Ints) -> Ints | None:
        affinity = (state.info.spec.get("affinity") or {}).get("nodeAffinity") or {}
        preferred = [*self._added_preferred, *(affinity.get(PREFERRED) or ())]
        if not preferred:
            return None
        scores = np.zeros(state.count, dtype=np.int64)
        for term in preferred:
            scores += term["weight"] * match_term(state.nodes, term["preference"])
        return scores[rows]

    def normalize(self, state: State, rows: Ints, scores: Ints) -> Ints:
        return normalized(scores)


def _matches(state: State, selector: Mapping[str, str], terms: Sequence[Mapping[str, Any]] | None) -> Mask:
    matches = match_labels(state.nodes, selector)
    if terms is not None:
        matches &= match_terms(state.nodes, terms)
    return matches


def _required(state: State) -> Sequence[Mapping[str, Any]] | None:
    return _terms(state.info)


def _terms(info: PodInfo) -> Sequence[Mapping[str, Any]] | None:
    affinity = (info.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get(REQUIRED)
    return None if required is None else required.get("nodeSelectorTerms") or ()


def _names(term: Mapping[str, Any]) -> set[str] | None:
    """The nodes that a term can match at all, if it says so."""
    found: set[str] | None = None
    for requirement in term.get("matchFields") or ():
        if requirement["key"] == "metadata.name" and requirement["operator"] == "In":
            names = set(requirement.get("values") or ())
            found = names if found is None else found & names
    return found

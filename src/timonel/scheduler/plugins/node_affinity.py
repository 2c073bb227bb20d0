"""NodeAffinity: nodeSelector and required terms filter, preferred terms score.

Terms that all name their node by metadata.name (as DaemonSets' pods do) narrow the search before it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from timonel.scheduler.framework import Refusal, Rejected, State, normalized
from timonel.scheduler.nodematch import match_labels, match_term, match_terms
from timonel.scheduler.nodes import Ints

REASON = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity:
    name = "NodeAffinity"
    events = frozenset({"node-added", "node-changed"})

    def pre_filter(self, state: State) -> set[str] | None:
        terms = _required(state)
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

    def filter(self, state: State) -> Iterable[Refusal]:
        selector, terms = state.info.spec.get("nodeSelector"), _required(state)
        if not selector and terms is None:
            return
        matches = match_labels(state.nodes, selector or {})
        if terms is not None:
            matches &= match_terms(state.nodes, terms)
        yield Refusal(~matches, REASON)

    def score(self, state: State, rows: Ints) -> Ints | None:
        affinity = (state.info.spec.get("affinity") or {}).get("nodeAffinity") or {}
        preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution")
        if not preferred:
            return None
        scores = np.zeros(state.count, dtype=np.int64)
        for term in preferred:
            scores += term["weight"] * match_term(state.nodes, term["preference"])
        return normalized(scores[rows])


def _required(state: State) -> Sequence[Mapping[str, Any]] | None:
    affinity = (state.info.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else required.get("nodeSelectorTerms") or ()


def _names(term: Mapping[str, Any]) -> set[str] | None:
    """The nodes that a term can match at all, if it says so."""
    found: set[str] | None = None
    for requirement in term.get("matchFields") or ():
        if requirement["key"] == "metadata.name" and requirement["operator"] == "In":
            names = set(requirement.get("values") or ())
            found = names if found is None else found & names
    return found

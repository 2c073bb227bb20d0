"""PodTopologySpread: pods of a kind are spread over the domains of a topology (the constraints that forbid).

Upstream: pkg/scheduler/framework/plugins/podtopologyspread/{common,filtering}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from timonel.machinery.selectors import from_label_selector
from timonel.objects.meta import is_deleting, labels_of
from timonel.scheduler.framework import Refusal, State
from timonel.scheduler.nodematch import match_labels, match_terms
from timonel.scheduler.nodes import MISSING, Ints, Mask
from timonel.scheduler.tolerations import tolerates

REASON = "node(s) didn't match pod topology spread constraints"
MISSING_LABEL = f"{REASON} (missing required label)"


class PodTopologySpread:
    name = "PodTopologySpread"
    events = frozenset({"node-added", "node-changed", "pod-added", "pod-deleted", "pod-changed"})

    def filter(self, state: State) -> Iterable[Refusal]:
        constraints = [
            c
            for c in state.info.spec.get("topologySpreadConstraints") or ()
            if c["whenUnsatisfiable"] == "DoNotSchedule"
        ]
        if not constraints:
            return
        complete = np.ones(state.count, dtype=np.bool_)
        for constraint in constraints:
            complete &= state.nodes.labels(constraint["topologyKey"]).column != MISSING
        missing = np.zeros(state.count, dtype=np.bool_)
        skewed = np.zeros(state.count, dtype=np.bool_)
        for constraint in constraints:
            lacks = state.nodes.labels(constraint["topologyKey"]).column == MISSING
            missing |= lacks & ~skewed
            skewed |= _skewed(state, constraint, complete) & ~missing
        yield Refusal(missing, MISSING_LABEL)
        yield Refusal(skewed, REASON, resolvable=True)


def _skewed(state: State, constraint: Mapping[str, Any], complete: Mask) -> Mask:
    """Nodes on which one more pod would make their domain too full compared with the emptiest."""
    column = state.nodes.labels(constraint["topologyKey"]).column
    counted = complete & _eligible(state, constraint)
    domains = np.unique(column[counted])
    counts = np.zeros(int(column.max(initial=0)) + 1, dtype=np.int64)
    pods = _matching(state, constraint)
    np.add.at(counts, column[counted], pods[counted])
    enough = len(domains) >= (constraint.get("minDomains") or 1)
    least = int(counts[domains].min()) if len(domains) and enough else 0
    itself = int(from_label_selector(constraint.get("labelSelector")).matches(labels_of(state.info.pod)))
    there = np.where(np.isin(column, domains), counts[np.maximum(column, 0)], 0)
    mask: Mask = there + itself - least > constraint["maxSkew"]
    return mask


def _matching(state: State, constraint: Mapping[str, Any]) -> Ints:
    selector = from_label_selector(constraint.get("labelSelector"))
    namespace = state.info.key.namespace
    return np.array(
        [
            sum(
                info.key.namespace == namespace
                and not is_deleting(info.pod)
                and selector.matches(labels_of(info.pod))
                for info in pods.values()
            )
            for pods in state.nodes.pods
        ],
        dtype=np.int64,
    )


def _eligible(state: State, constraint: Mapping[str, Any]) -> Mask:
    """Nodes that count: those that the pod could choose by its selector, and by its tolerations if it says so."""
    mask: Mask = np.ones(state.count, dtype=np.bool_)
    spec = state.info.spec
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor":
        mask &= match_labels(state.nodes, spec.get("nodeSelector") or {})
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        if required is not None:
            mask &= match_terms(state.nodes, required.get("nodeSelectorTerms") or ())
    if constraint.get("nodeTaintsPolicy", "Ignore") == "Honor":
        tolerations = spec.get("tolerations") or ()
        tolerated = [
            all(effect == "PreferNoSchedule" or tolerates(tolerations, (key, value, effect))
                for key, value, effect in taints)
            for taints in state.nodes.taint_sets
        ]  # fmt: skip
        mask &= np.array(tolerated, dtype=np.bool_)[state.nodes.taints[: state.count]]
    return mask

"""TaintToleration: taints keep pods away that do not tolerate them; fewer PreferNoSchedule taints score better.

Nodes with the same taints share one number, so each set of taints is looked at once for a pod.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.objects.meta import Object
from timonel.scheduler.framework import Refusal, State, normalized
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.tolerations import tolerates


class TaintToleration:
    name = "TaintToleration"
    scope = "nodes"
    events = frozenset({"node-added", "node-changed", "pod-changed"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """A node helps whose taints are tolerated now, and were not before."""
        if event not in ("node-added", "node-changed") or new is None:
            return True
        return _is_tolerated(info, new) and (old is None or not _is_tolerated(info, old))

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        tolerations = state.info.spec.get("tolerations") or ()
        refused = [
            any(effect != "PreferNoSchedule" and not tolerates(tolerations, (key, value, effect))
                for key, value, effect in taints)
            for taints in state.nodes.taint_sets
        ]  # fmt: skip
        if any(refused):
            mask = np.array(refused, dtype=np.bool_)[state.nodes.taints[rows]]
            yield Refusal(mask, "node(s) had untolerated taint(s)")

    def score(self, state: State, rows: Ints) -> Ints | None:
        tolerations = [
            t
            for t in state.info.spec.get("tolerations") or ()
            if t.get("effect") in (None, "", "PreferNoSchedule")
        ]
        counts = [
            sum(effect == "PreferNoSchedule" and not tolerates(tolerations, (key, value, effect))
                for key, value, effect in taints)
            for taints in state.nodes.taint_sets
        ]  # fmt: skip
        if not any(counts):
            return None
        found: Ints = np.array(counts, dtype=np.int64)[state.nodes.taints[rows]]
        return found

    def normalize(self, state: State, rows: Ints, scores: Ints) -> Ints:
        return normalized(scores, reverse=True)


def _is_tolerated(info: PodInfo, node: Object) -> bool:
    tolerations = info.spec.get("tolerations") or ()
    return all(
        t["effect"] == "PreferNoSchedule"
        or tolerates(tolerations, (t["key"], t.get("value", ""), t["effect"]))
        for t in (node.get("spec") or {}).get("taints") or ()
    )

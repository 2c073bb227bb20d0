"""NodeDeclaredFeatures: what a pod needs of a node agent must be among what the node says that it can do.

Upstream: pkg/scheduler/framework/plugins/nodedeclaredfeatures, component-helpers/nodedeclaredfeatures/features.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.objects.meta import Object
from timonel.scheduler.framework import Refusal, Skip, State
from timonel.scheduler.nodes import Ints, Mask
from timonel.scheduler.podinfo import PodInfo

REASON = "node declared features check failed - unsatisfied requirements: "


class NodeDeclaredFeatures:
    name = "NodeDeclaredFeatures"
    scope = "nodes"
    events = frozenset({"node-added", "node-changed"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """A node helps that says something else than before."""
        return old is None or new is None or _declared(old) != _declared(new)

    def pre_filter(self, state: State) -> set[str] | None:
        if not state.info.needs:
            raise Skip
        return None

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        missing = [state.info.needs - _declared(state.nodes.objects[row]) for row in rows.tolist()]
        for lacking in sorted({tuple(sorted(features)) for features in missing if features}):
            mask: Mask = np.array([features == set(lacking) for features in missing], dtype=np.bool_)
            yield Refusal(mask, REASON + ", ".join(lacking))


def _declared(node: Object) -> frozenset[str]:
    return frozenset((node.get("status") or {}).get("declaredFeatures") or ())

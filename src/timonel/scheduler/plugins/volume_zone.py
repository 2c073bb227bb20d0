"""VolumeZone: a volume with labels of zones or regions is used by nodes there; nodes without such labels take any.

Upstream: pkg/scheduler/framework/plugins/volumezone/volume_zone.go.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.objects.meta import Key, Object, labels_of
from timonel.scheduler.framework import Refusal, Rejected, Skip, State
from timonel.scheduler.nodes import MISSING, Ints, Mask
from timonel.scheduler.podinfo import PodInfo, is_claimed

REASON = "node(s) had no available volume zone"
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
NOW = {  # what labels of former times are called now
    "failure-domain.beta.kubernetes.io/zone": ZONE,
    "failure-domain.beta.kubernetes.io/region": REGION,
}
KEYS = (ZONE, REGION, *NOW)

Places = list[tuple[str, frozenset[str]]]


class VolumeZone:
    name = "VolumeZone"
    scope = "nodes"
    events = frozenset({"claim", "volume", "class", "node-added", "node-changed", "pod-changed"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of claims, the pod's own."""
        return event != "claim" or is_claimed(info, new or old)

    def pre_filter(self, state: State) -> set[str] | None:
        places: Places = []
        for name in state.info.claims:
            claim = state.reads.get("persistentvolumeclaims", Key(state.info.key.namespace, name))
            volume_name = ((claim or {}).get("spec") or {}).get("volumeName")
            if not volume_name:
                continue
            volume = state.reads.get("persistentvolumes", Key("", volume_name))
            if volume is None:
                raise Rejected(f'persistentvolume "{volume_name}" not found')
            labels = labels_of(volume)
            places += [(key, frozenset(labels[key].split("__"))) for key in KEYS if key in labels]
        if not places:
            raise Skip
        state.notes[self.name] = places
        return None

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        nodes, places = state.nodes, state.notes[self.name]
        placed = np.zeros(len(rows), dtype=np.bool_)
        for key in KEYS:
            placed |= nodes.labels(key).column[rows] != MISSING
        fits = np.ones(len(rows), dtype=np.bool_)
        for key, values in places:
            there = _is_in(state, rows, key, values)
            if key in NOW:
                lacks = nodes.labels(key).column[rows] == MISSING
                there |= lacks & _is_in(state, rows, NOW[key], values)
            fits &= there
        yield Refusal(placed & ~fits, REASON)


def _is_in(state: State, rows: Ints, key: str, values: Iterable[str]) -> Mask:
    column = state.nodes.labels(key)
    return np.isin(column.column[rows], [column.of(value) for value in values])

"""VolumeRestrictions: a ReadWriteOncePod claim is for one pod in the cluster."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from timonel.objects.meta import Key
from timonel.scheduler.framework import Refusal, State

REASON = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


class VolumeRestrictions:
    name = "VolumeRestrictions"
    events = frozenset({"pod-deleted", "claim"})

    def filter(self, state: State) -> Iterable[Refusal]:
        namespace = state.info.key.namespace
        exclusive = [name for name in state.info.claims if _is_exclusive(state, Key(namespace, name))]
        if not exclusive:
            return
        holders = [
            any(
                info.key.namespace == namespace and set(info.claims) & set(exclusive)
                for info in state.nodes.pods[row].values()
            )
            for row in range(state.count)
        ]
        if any(holders):
            # One holder anywhere is one too many: no node will do, but only that one's could be freed.
            mask = np.array(holders, dtype=np.bool_)
            yield Refusal(mask, REASON, resolvable=True)
            yield Refusal(~mask, REASON)


def _is_exclusive(state: State, key: Key) -> bool:
    claim = state.reads.get("persistentvolumeclaims", key)
    return claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())

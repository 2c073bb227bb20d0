"""VolumeRestrictions: a ReadWriteOncePod claim is for one pod in the cluster, some disks for one writer on a node.

Upstream: pkg/scheduler/framework/plugins/volumerestrictions/volume_restrictions.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from timonel.objects.meta import Key, Object
from timonel.scheduler.framework import Refusal, Skip, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo, is_claimed, pod_info

EXCLUSIVE = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
DISK = "node(s) had no available disk"


class VolumeRestrictions:
    name = "VolumeRestrictions"
    scope = "cluster"
    events = frozenset({"pod-deleted", "claim", "node-added"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of claims, the pod's own; of pods that go, those that had one of them, or a volume without a claim."""
        if event == "claim":
            return is_claimed(info, new or old)
        if event != "pod-deleted" or old is None:
            return True
        other = pod_info(old)
        if other.key.namespace == info.key.namespace and set(other.claims) & set(info.claims):
            return True
        return bool(_disks(info) and _disks(other))

    def pre_filter(self, state: State) -> set[str] | None:
        namespace = state.info.key.namespace
        state.notes[self.name] = {
            name for name in state.info.claims if _is_exclusive(state, Key(namespace, name))
        }
        if not state.notes[self.name] and not _disks(state.info):
            raise Skip
        return None

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        disks = _disks(state.info)
        exclusive: set[str] = state.notes[self.name]
        occupied = np.zeros(len(rows), dtype=np.bool_)
        if disks:
            occupied = np.array(
                [
                    any(_conflicts(disks, info) for info in state.nodes.pods[row].values())
                    for row in rows.tolist()
                ],
                dtype=np.bool_,
            )
            yield Refusal(occupied, DISK, resolvable=True)
        if exclusive and self._held(state, exclusive):
            yield Refusal(~occupied, EXCLUSIVE, resolvable=True)

    def _held(self, state: State, exclusive: set[str]) -> bool:
        """One holder anywhere is one too many."""
        namespace = state.info.key.namespace
        return any(
            info.claims and info.key.namespace == namespace and not exclusive.isdisjoint(info.claims)
            for there in state.nodes.pods
            for info in there.values()
        )


def _disks(info: PodInfo) -> list[Mapping[str, Any]]:
    return [v for v in info.spec.get("volumes") or () if any(kind in v for kind in _DISKS)]


def _is_exclusive(state: State, key: Key) -> bool:
    claim = state.reads.get("persistentvolumeclaims", key)
    return claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())


_DISKS = ("gcePersistentDisk", "awsElasticBlockStore", "rbd", "iscsi")


def _conflicts(disks: Iterable[Mapping[str, Any]], info: PodInfo) -> bool:
    there = info.spec.get("volumes") or ()
    return any(_is_conflict(mine, theirs) for mine in disks for theirs in there)


def _is_conflict(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    for kind, same in (
        ("gcePersistentDisk", lambda x, y: x["pdName"] == y["pdName"]),
        ("iscsi", lambda x, y: x["iqn"] == y["iqn"]),
        ("rbd", _same_image),
    ):
        if kind in a and kind in b and same(a[kind], b[kind]):
            return not (a[kind].get("readOnly") and b[kind].get("readOnly"))
    aws = "awsElasticBlockStore"
    return aws in a and aws in b and bool(a[aws]["volumeID"] == b[aws]["volumeID"])


def _same_image(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    monitors = set(a.get("monitors") or ()) & set(b.get("monitors") or ())
    pool = a.get("pool", "rbd") == b.get("pool", "rbd")
    return bool(monitors) and pool and bool(a.get("image") == b.get("image"))

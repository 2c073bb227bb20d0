"""NodeVolumeLimits: a node takes as many volumes of a CSI driver as its CSINode says.

Upstream: pkg/scheduler/framework/plugins/nodevolumelimits/csi.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from timonel.objects.meta import Key
from timonel.scheduler.framework import Refusal, Skip, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo

REASON = "node(s) exceed max volume count"
CSI_NODES = "csinodes.storage.k8s.io"
NO_PROVISIONER = "kubernetes.io/no-provisioner"

Volume = tuple[str, str]  # driver, handle


class NodeVolumeLimits:
    name = "NodeVolumeLimits"
    scope = "row"
    events = frozenset({"csinode", "pod-deleted", "claim", "volume", "node-added"})

    def pre_filter(self, state: State) -> set[str] | None:
        if not state.info.claims:
            raise Skip
        state.notes[self.name] = set(_volumes(state, state.info))
        return None

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        wanted: set[Volume] = state.notes[self.name]
        full = [bool(wanted) and self._is_too_much(state, wanted, row) for row in rows.tolist()]
        yield Refusal(np.array(full, dtype=np.bool_), REASON, resolvable=True)

    def _is_too_much(self, state: State, wanted: set[Volume], row: int) -> bool:
        limits = _limits(state, state.nodes.name(row))
        if not limits:
            return False
        there = {volume for info in state.nodes.pods[row].values() for volume in _volumes(state, info)}
        now = Counter(driver for driver, _ in there)
        more = Counter(driver for driver, _ in wanted - there)
        return any(driver in limits and now[driver] + n > limits[driver] for driver, n in more.items())


def _limits(state: State, node: str) -> Mapping[str, int]:
    found = state.reads.get(CSI_NODES, Key("", node))
    drivers = ((found or {}).get("spec") or {}).get("drivers") or ()
    told = {d["name"]: (d.get("allocatable") or {}).get("count") for d in drivers}
    return {name: count for name, count in told.items() if count is not None}


def _volumes(state: State, info: PodInfo) -> Iterable[Volume]:
    """Those of CSI drivers; a claim that is not bound yet counts for the driver that will provide for it."""
    namespace = info.key.namespace
    for name in info.claims:
        claim = state.reads.get("persistentvolumeclaims", Key(namespace, name))
        if claim is None:
            continue
        volume = state.reads.get("persistentvolumes", Key("", claim["spec"].get("volumeName") or ""))
        if volume is not None:
            csi = volume["spec"].get("csi")
            if csi:
                yield csi["driver"], csi["volumeHandle"]
            continue
        class_name = claim["spec"].get("storageClassName") or ""
        found = state.reads.get("storageclasses.storage.k8s.io", Key("", class_name))
        if found is not None and found["provisioner"] != NO_PROVISIONER:
            yield found["provisioner"], f"{namespace}/{name}"

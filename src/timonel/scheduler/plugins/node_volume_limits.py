"""NodeVolumeLimits: a node takes as many volumes of a CSI driver as its CSINode says.

Those of its pods count, and those that are attached to it still, or already, for pods that are not there.

Upstream: pkg/scheduler/framework/plugins/nodevolumelimits/csi.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from timonel.objects.ephemeral import is_templated, whose_else
from timonel.objects.meta import Key, Object
from timonel.scheduler.framework import Refusal, Skip, State
from timonel.scheduler.nodes import Ints
from timonel.scheduler.podinfo import PodInfo, is_claimed, pod_info

REASON = "node(s) exceed max volume count"
ATTACHMENTS = "volumeattachments.storage.k8s.io"
CSI_NODES = "csinodes.storage.k8s.io"
NO_PROVISIONER = "kubernetes.io/no-provisioner"

Volume = tuple[str, str]  # driver, handle


class NodeVolumeLimits:
    name = "NodeVolumeLimits"
    scope = "row"
    events = frozenset({"csinode", "pod-deleted", "claim", "volume", "attachment", "node-added"})

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of claims, the pod's own; of attachments, those that end; of pods that go, those with volumes."""
        match event:
            case "claim":
                return is_claimed(info, new or old)
            case "attachment":
                return new is None
            case "pod-deleted":
                return old is None or bool(pod_info(old).claims)
            case "csinode":
                return new is not None and _has_more(old, new)
        return True

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
        there |= state.once("NodeVolumeLimits.attached", lambda: _attached(state)).get(
            state.nodes.name(row), set()
        )
        now = Counter(driver for driver, _ in there)
        more = Counter(driver for driver, _ in wanted - there)
        return any(driver in limits and now[driver] + n > limits[driver] for driver, n in more.items())


def _attached(state: State) -> Mapping[str, set[Volume]]:
    """The volumes of CSI drivers that are attached, or are to be, by node."""
    found: dict[str, set[Volume]] = {}
    for attachment in state.reads.list(ATTACHMENTS):
        spec = attachment["spec"]
        name = (spec.get("source") or {}).get("persistentVolumeName")
        volume = state.reads.get("persistentvolumes", Key("", name)) if name else None
        csi = volume["spec"].get("csi") if volume is not None else None
        if csi:
            found.setdefault(spec["nodeName"], set()).add((spec["attacher"], csi["volumeHandle"]))
    return found


def _has_more(old: Object | None, new: Object) -> bool:
    before, now = _counts(old), _counts(new)
    return old is None or any(driver not in now or now[driver] > n for driver, n in before.items())


def _limits(state: State, node: str) -> Mapping[str, int]:
    return _counts(state.reads.get(CSI_NODES, Key("", node)))


def _counts(found: Object | None) -> Mapping[str, int]:
    drivers = ((found or {}).get("spec") or {}).get("drivers") or ()
    told = {d["name"]: (d.get("allocatable") or {}).get("count") for d in drivers}
    return {name: count for name, count in told.items() if count is not None}


def _volumes(state: State, info: PodInfo) -> Iterable[Volume]:
    """Those of CSI drivers; a claim that is not bound yet counts for the driver that will provide for it."""
    namespace = info.key.namespace
    for name in info.claims:
        claim = state.reads.get("persistentvolumeclaims", Key(namespace, name))
        if claim is None or (is_templated(info.pod, name) and whose_else(claim, info.pod)):
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

"""VolumeBinding: bound volumes must be reachable from the node; unbound claims get a volume that is, or one made there.

A claim whose class waits for its first consumer is decided with the pod: a fitting volume that exists is bound to it,
else the chosen node is written on the claim for its provisioner, and the pod is bound once the claim is.

Upstream: pkg/scheduler/framework/plugins/volumebinding, component-helpers/storage/volume (FindMatchingVolume).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import field

import numpy as np

from timonel.machinery.quantity import Quantity
from timonel.machinery.selectors import from_label_selector
from timonel.objects.ephemeral import is_templated, whose_else
from timonel.objects.meta import Key, Object, annotations_of, is_deleting, key_of, labels_of
from timonel.records import dataclass
from timonel.scheduler.framework import Cluster, Refusal, Rejected, Skip, State
from timonel.scheduler.nodematch import match_terms
from timonel.scheduler.nodes import Ints, Mask, Nodes
from timonel.scheduler.podinfo import PodInfo, is_claimed

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
NO_PROVISIONER = "kubernetes.io/no-provisioner"

NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUME = "node(s) didn't find available persistent volumes to bind"

NO_SUCH_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
TOO_LITTLE = "node(s) did not have enough free storage"

DRIVERS, CAPACITIES = "csidrivers.storage.k8s.io", "csistoragecapacities.storage.k8s.io"
CLAIMS, VOLUMES, CLASSES = "persistentvolumeclaims", "persistentvolumes", "storageclasses.storage.k8s.io"


@dataclass(slots=True)
class _Wanted:
    bound: list[Object | None] = field(default_factory=list)  # volumes, None where one is gone
    delayed: list[Object] = field(default_factory=list)  # claims
    static: dict[int, dict[str, Object]] = field(default_factory=dict)  # row -> claim -> volume
    reserved: tuple[str, ...] = ()


BIND_TIMEOUT = 600.0  # seconds


class NotBound(Exception):
    """Volumes could not be bound, or not in time."""


class VolumeBinding:
    name = "VolumeBinding"
    scope = "nodes"
    events = frozenset({"claim", "volume", "class", "node-added", "node-changed", "capacity", "pod-changed"})

    def __init__(self, *, timeout: float = BIND_TIMEOUT) -> None:
        self._timeout = timeout
        self._cluster: Cluster | None = None
        self._assumed: set[str] = set()  # volumes promised to pods that are being bound

    def attach(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of claims, the pod's own."""
        return event != "claim" or is_claimed(info, new or old)

    def pre_filter(self, state: State) -> set[str] | None:
        if not state.info.claims:
            raise Skip
        wanted = _Wanted()
        waits_for_controller = False
        for name in state.info.claims:
            claim = state.reads.get(CLAIMS, Key(state.info.key.namespace, name))
            _check(claim, name, state)
            assert claim is not None
            if _is_bound(claim):
                wanted.bound.append(state.reads.get(VOLUMES, Key("", claim["spec"]["volumeName"])))
            elif _is_delayed(state, claim) and not claim["spec"].get("volumeName"):
                wanted.delayed.append(claim)
            else:
                waits_for_controller = True
        if waits_for_controller:
            raise Rejected("pod has unbound immediate PersistentVolumeClaims")
        state.notes[self.name] = wanted
        return None

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        for refusal in state.once("VolumeBinding.refusals", lambda: list(self._refusals(state))):
            yield Refusal(refusal.mask[rows], refusal.reason)

    def _refusals(self, state: State) -> Iterable[Refusal]:
        wanted: _Wanted = state.notes[self.name]
        conflicting = np.zeros(state.count, dtype=np.bool_)
        for volume in wanted.bound:
            if volume is None:
                yield Refusal(np.ones(state.count, dtype=np.bool_), NO_SUCH_VOLUME)
            else:
                conflicting |= ~reachable(state.nodes, volume)
        yield Refusal(conflicting, NODE_CONFLICT)
        if wanted.delayed:
            without, too_little = self._without_volume(state, wanted)
            yield Refusal(without, NO_VOLUME)
            yield Refusal(too_little & ~without, TOO_LITTLE)

    def _without_volume(self, state: State, wanted: _Wanted) -> tuple[Mask, Mask]:
        """Nodes on which some delayed claim can neither be matched nor provisioned, or not for want of storage.

        Notes the matches.
        """
        refused = np.zeros(state.count, dtype=np.bool_)
        too_little = np.zeros(state.count, dtype=np.bool_)
        taken: dict[int, set[str]] = {}
        for claim in wanted.delayed:
            provisionable = _provisionable(state, claim)
            if SELECTED_NODE in annotations_of(claim):  # a provisioner is at work
                refused |= ~provisionable
                continue
            matched = np.zeros(state.count, dtype=np.bool_)
            for volume in self._candidates(state, claim):
                name = volume["metadata"]["name"]
                for row in np.flatnonzero(reachable(state.nodes, volume) & ~matched):
                    at = int(row)
                    if name not in taken.setdefault(at, set()):
                        taken[at].add(name)
                        matched[at] = True
                        wanted.static.setdefault(at, {})[claim["metadata"]["name"]] = volume
            refused |= ~(matched | provisionable)
            too_little |= ~matched & provisionable & ~_roomy(state, claim)
        return refused, too_little

    def _candidates(self, state: State, claim: Object) -> list[Object]:
        fitting = [
            v
            for v in state.reads.list(VOLUMES)
            if v["metadata"]["name"] not in self._assumed and fits(v, claim)
        ]
        return sorted(fitting, key=lambda v: (not _is_promised(v, claim), _capacity(v)))

    def reserve(self, state: State, row: int) -> None:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is not None:
            chosen = wanted.static = {row: wanted.static.get(row, {})}
            wanted.reserved = tuple(v["metadata"]["name"] for v in chosen[row].values())
            self._assumed.update(wanted.reserved)

    def unreserve(self, state: State) -> None:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is not None:
            self._assumed.difference_update(wanted.reserved)

    def has_to_pre_bind(self, state: State) -> bool:
        wanted: _Wanted | None = state.notes.get(self.name)
        return wanted is not None and bool(wanted.delayed)

    async def pre_bind(self, state: State, node: str) -> None:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is None or not wanted.delayed:
            return
        assert self._cluster is not None
        static = next(iter(wanted.static.values()), {})
        for claim in wanted.delayed:
            volume = static.get(claim["metadata"]["name"])
            if volume is not None:
                await self._cluster.patch(VOLUMES, key_of(volume), _promise(volume, claim))
            elif annotations_of(claim).get(SELECTED_NODE) != node:
                patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._cluster.patch(CLAIMS, key_of(claim), patch)
        try:
            async with asyncio.timeout(self._timeout):
                for claim in wanted.delayed:
                    chosen = claim["metadata"]["name"] in static
                    await self._until_bound(state, key_of(claim), node, chosen=chosen)
        except TimeoutError:
            raise NotBound("binding volumes: context deadline exceeded") from None
        self.unreserve(state)

    async def _until_bound(self, state: State, key: Key, node: str, *, chosen: bool) -> None:
        assert self._cluster is not None
        seen_selected = False
        while True:
            claim = state.reads.get(CLAIMS, key)
            if claim is None:
                raise NotBound(f'binding volumes: persistentvolumeclaim "{key.name}" not found')
            if _is_bound(claim):
                return
            selected = annotations_of(claim).get(SELECTED_NODE)
            if not chosen and seen_selected and selected != node:  # its provisioner gave the node up
                raise NotBound(f'binding volumes: provisioning failed for PVC "{key.name}"')
            seen_selected = seen_selected or selected == node
            await self._cluster.until_changed(CLAIMS, key)


def _check(claim: Object | None, name: str, state: State) -> None:
    ephemeral = is_templated(state.info.pod, name)
    if claim is None:
        if ephemeral:
            raise Rejected(
                f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            )
        raise Rejected(f'persistentvolumeclaim "{name}" not found')
    if (claim.get("status") or {}).get("phase") == "Lost":
        missing = claim["spec"].get("volumeName", "")
        raise Rejected(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{missing}"')
    if is_deleting(claim):
        raise Rejected(f'persistentvolumeclaim "{name}" is being deleted')
    if ephemeral and (stranger := whose_else(claim, state.info.pod)):
        raise Rejected(stranger)


def _is_bound(claim: Object) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def _class_of(state: State, claim: Object) -> Object | None:
    name = claim["spec"].get("storageClassName") or ""
    return state.reads.get(CLASSES, Key("", name)) if name else None


def _is_delayed(state: State, claim: Object) -> bool:
    found = _class_of(state, claim)
    return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"


def _provisionable(state: State, claim: Object) -> Mask:
    found = _class_of(state, claim)
    if found is None or found["provisioner"] == NO_PROVISIONER:
        return np.zeros(state.count, dtype=np.bool_)
    topologies = found.get("allowedTopologies")
    mask: Mask = np.ones(state.count, dtype=np.bool_)
    if topologies:
        terms = [
            {"matchExpressions": [{**e, "operator": "In"} for e in t.get("matchLabelExpressions") or ()]}
            for t in topologies
        ]
        mask = match_terms(state.nodes, terms)
    selected = annotations_of(claim).get(SELECTED_NODE)
    if selected:  # a provisioner is at work for that node already
        only = np.zeros(state.count, dtype=np.bool_)
        if selected in state.nodes.row:
            only[state.nodes.row[selected]] = True
        mask = mask & only
    return mask


def _roomy(state: State, claim: Object) -> Mask:
    """Nodes for which the driver has told that it can make a volume of this size, if it tells at all."""
    everywhere: Mask = np.ones(state.count, dtype=np.bool_)
    found = _class_of(state, claim)
    driver = state.reads.get(DRIVERS, Key("", found["provisioner"])) if found else None
    if found is None or driver is None or not driver["spec"].get("storageCapacity"):
        return everywhere
    asked = Quantity.parse(claim["spec"]["resources"]["requests"]["storage"]).value()
    mask: Mask = np.zeros(state.count, dtype=np.bool_)
    for capacity in state.reads.list(CAPACITIES):
        if capacity.get("storageClassName") != found["metadata"]["name"]:
            continue
        told = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        topology = capacity.get("nodeTopology")
        if told is None or topology is None or Quantity.parse(told).value() < asked:
            continue
        selector = from_label_selector(topology)
        mask |= np.array([selector.matches(labels_of(n)) for n in state.nodes.objects], dtype=np.bool_)
    return mask


def reachable(nodes: Nodes, volume: Object) -> Mask:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if not required:
        return np.ones(len(nodes), dtype=np.bool_)
    return match_terms(nodes, required.get("nodeSelectorTerms") or ())


def fits(volume: Object, claim: Object) -> bool:
    """Whether a volume may be bound to a claim, wherever it is."""
    spec, asked = volume["spec"], claim["spec"]
    if spec.get("claimRef"):
        return _is_promised(volume, claim)
    selector = asked.get("selector")
    return (
        (volume.get("status") or {}).get("phase", "Available") == "Available"
        and not is_deleting(volume)
        and (spec.get("storageClassName") or "") == (asked.get("storageClassName") or "")
        and set(asked.get("accessModes") or ()) <= set(spec.get("accessModes") or ())
        and (spec.get("volumeMode") or "Filesystem") == (asked.get("volumeMode") or "Filesystem")
        and (selector is None or from_label_selector(selector).matches(labels_of(volume)))
        and _capacity(volume) >= Quantity.parse(asked["resources"]["requests"]["storage"]).value()
    )


def _is_promised(volume: Object, claim: Object) -> bool:
    ref = volume["spec"].get("claimRef")
    if not ref or ref["name"] != claim["metadata"]["name"]:
        return False
    return bool(
        ref.get("namespace") == claim["metadata"]["namespace"]
        and ref.get("uid", "") in ("", claim["metadata"]["uid"])
    )


def _capacity(volume: Object) -> int:
    return Quantity.parse(volume["spec"]["capacity"]["storage"]).value()


def _promise(volume: Object, claim: Object) -> Object:
    meta = claim["metadata"]
    ref = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
    }
    return {
        "metadata": {
            "resourceVersion": volume["metadata"]["resourceVersion"],
            "annotations": {BOUND_BY_CONTROLLER: "yes"},
        },
        "spec": {"claimRef": ref},
    }

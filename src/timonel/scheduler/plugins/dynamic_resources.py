"""DynamicResources: claims for devices are given devices that the node can use, and are reserved for the pod.

Upstream: pkg/scheduler/framework/plugins/dynamicresources/dynamicresources.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from timonel.machinery.errors import Conflict
from timonel.objects.meta import Key, Object, is_deleting, key_of
from timonel.records import dataclass
from timonel.scheduler.framework import (
    Cluster,
    Diagnosis,
    PostFiltered,
    Refusal,
    Rejected,
    Skip,
    State,
    Suppose,
)
from timonel.scheduler.nodematch import match_terms
from timonel.scheduler.nodes import Ints, Mask

if TYPE_CHECKING:  # CEL comes with it, which is not paid for by those who claim no devices
    from timonel.scheduler.devices import Claim, DeviceId

CLAIMS, SLICES, CLASSES = (
    f"{name}.resource.k8s.io" for name in ("resourceclaims", "resourceslices", "deviceclasses")
)
FINALIZER = "resource.kubernetes.io/delete-protection"
MOST_CONSUMERS = 256
TRIES = 5

ELSEWHERE = "resourceclaim not available on the node"
NOT_ALL = "cannot allocate all claims"


@dataclass(slots=True)
class _Wanted:
    allocated: list[Object] = field(default_factory=list)
    open: list[Claim] = field(default_factory=list)
    by_row: dict[int, list[Object]] = field(default_factory=dict)  # allocations of the open ones
    reserved: list[tuple[str, Object]] = field(default_factory=list)  # uid of the claim, allocation
    elsewhere: dict[str, Object] = field(default_factory=dict)  # allocated claims that keep nodes away


class DynamicResources:
    name = "DynamicResources"
    scope = "cluster"
    events = frozenset(
        {"resource-claim", "resource-slice", "device-class", "node-added", "node-changed", "pod-changed"}
    )

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._pending: dict[str, Object] = {}  # uid of a claim: an allocation on its way to the API
        self._written: dict[str, Key] = {}  # those of them that the API has, but perhaps not our cache

    def attach(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def pre_filter(self, state: State) -> set[str] | None:
        self._settle(state)
        wanted = state.notes[self.name] = _Wanted()
        asked = state.info.spec.get("resourceClaims") or ()
        if not asked:
            raise Skip
        from timonel.scheduler.devices import AllocationError, Claim

        for entry in asked:
            claim = _claim(state, entry)
            if claim is None:
                continue  # a template of which nothing came
            if (claim.get("status") or {}).get("allocation"):
                if not _is_reserved(claim, state) and len(_consumers(claim)) >= MOST_CONSUMERS:
                    raise Rejected("resourceclaim in use")
                wanted.allocated.append(claim)
            elif claim["metadata"]["uid"] in self._pending:
                raise Rejected("resourceclaim is in the process of being allocated")
            else:
                try:
                    wanted.open.append(Claim(claim, lambda name: state.reads.get(CLASSES, Key("", name))))
                except AllocationError as exc:
                    raise Rejected(str(exc)) from exc
        return None

    def _settle(self, state: State) -> None:
        """Forget allocations that the cache shows by now."""
        for uid, key in list(self._written.items()):
            claim = state.reads.get(CLAIMS, key)
            if (
                claim is None
                or claim["metadata"]["uid"] != uid
                or (claim.get("status") or {}).get("allocation")
            ):
                del self._written[uid]
                self._pending.pop(uid, None)

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        wanted: _Wanted = state.notes[self.name]
        elsewhere = np.zeros(len(rows), dtype=np.bool_)
        for claim in wanted.allocated:
            selector = claim["status"]["allocation"].get("nodeSelector")
            if selector:
                away = ~_matching(state, selector)[rows]
                elsewhere |= away
                if away.any():
                    wanted.elsewhere[claim["metadata"]["uid"]] = claim
        yield Refusal(elsewhere, ELSEWHERE)
        if wanted.open:
            refused = [not gone and not self._allocates(state, wanted, row)
                       for row, gone in zip(rows.tolist(), elsewhere.tolist(), strict=True)]  # fmt: skip
            yield Refusal(np.array(refused, dtype=np.bool_), NOT_ALL)

    def _allocates(self, state: State, wanted: _Wanted, row: int) -> bool:
        from timonel.scheduler.devices import allocate, available

        node = state.nodes.objects[row]
        slices: Sequence[Object] = state.once(
            "DynamicResources.slices", lambda: list(state.reads.list(SLICES))
        )
        devices, complete = available(slices, node, lambda s: bool(_matching(state, s)[row]))
        found = allocate(wanted.open, devices, complete=complete, used=self._used(state), node=node)
        if found is None:
            return False
        wanted.by_row[row] = found
        return True

    def _used(self, state: State) -> set[DeviceId]:
        from timonel.scheduler.devices import ids_of, used_by

        def used() -> set[DeviceId]:
            pending = {i for allocation in self._pending.values() for i in ids_of(allocation)}
            return pending | set(used_by(state.reads.list(CLAIMS)))

        return state.once("DynamicResources.used", used)

    def post_filter(self, state: State, diagnosis: Diagnosis, suppose: Suppose) -> PostFiltered:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is None:  # an earlier plugin has rejected the pod
            return PostFiltered("not found", final=True)
        if not wanted.allocated and not wanted.open:
            return PostFiltered("no new claims to deallocate")
        return PostFiltered("still not schedulable")

    def reserve(self, state: State, row: int) -> None:
        wanted: _Wanted = state.notes[self.name]
        if not wanted.open:
            return
        for claim, allocation in zip(wanted.open, wanted.by_row[row], strict=True):
            uid = claim.object["metadata"]["uid"]
            self._pending[uid] = allocation
            wanted.reserved.append((uid, allocation))

    def unreserve(self, state: State) -> None:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is not None:
            for uid, _ in wanted.reserved:
                if uid not in self._written:  # what the API has got is not taken back
                    self._pending.pop(uid, None)
            wanted.reserved = []

    async def pre_bind(self, state: State, node: str) -> None:
        wanted: _Wanted = state.notes[self.name]
        allocations = dict(wanted.reserved)
        for claim in [*wanted.allocated, *(c.object for c in wanted.open)]:
            if not _is_reserved(claim, state):
                uid = claim["metadata"]["uid"]
                await self._write(claim, allocations.get(uid), state)
                if uid in allocations:
                    self._written[uid] = key_of(claim)
        wanted.reserved = []

    async def _write(self, claim: Object, allocation: Object | None, state: State) -> None:
        """The finalizer first, lest an allocated claim vanish; then allocation and reservation at once."""
        assert self._cluster is not None
        for attempt in range(TRIES):
            if attempt:
                claim = await self._cluster.read(CLAIMS, key_of(claim))
            try:
                await self._write_once(claim, allocation, state)
            except Conflict:
                if attempt == TRIES - 1:
                    raise
            else:
                return

    async def _write_once(self, claim: Object, allocation: Object | None, state: State) -> None:
        assert self._cluster is not None
        meta, status = claim["metadata"], claim.get("status") or {}
        if is_deleting(claim):
            raise Rejected(f'resourceclaim "{meta["name"]}" got deleted in the meantime')
        if allocation is not None:
            if status.get("allocation"):
                raise Rejected(f'resourceclaim "{meta["name"]}" got allocated elsewhere in the meantime')
            finalizers = meta.get("finalizers") or []
            if FINALIZER not in finalizers:
                patch = {
                    "metadata": {
                        "resourceVersion": meta["resourceVersion"],
                        "finalizers": [*finalizers, FINALIZER],
                    }
                }
                claim = await self._cluster.patch(CLAIMS, key_of(claim), patch)
        consumer = {"resource": "pods", "name": state.info.key.name, "uid": state.info.uid}
        told: dict[str, Any] = {"reservedFor": [*(status.get("reservedFor") or ()), consumer]}
        if allocation is not None:
            told["allocation"] = allocation
        patch = {"metadata": {"resourceVersion": claim["metadata"]["resourceVersion"]}, "status": told}
        await self._cluster.patch(CLAIMS, key_of(claim), patch, subresource="status")


def _claim(state: State, entry: Mapping[str, Any]) -> Object | None:
    """The claim that an entry of the pod means; raises Rejected."""
    pod = state.info.pod
    name = entry.get("resourceClaimName")
    if not name:
        statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
        status = next((s for s in statuses if s["name"] == entry["name"]), None)
        if status is None:
            raise Rejected(f'pod "{state.info.key}": ResourceClaim not created yet')
        name = status.get("resourceClaimName")
        if not name:
            return None
    claim = state.reads.get(CLAIMS, Key(state.info.key.namespace, name))
    if claim is None:
        raise Rejected(f'resourceclaim.resource.k8s.io "{name}" not found')
    if is_deleting(claim):
        raise Rejected(f'resourceclaim "{name}" is being deleted')
    if not entry.get("resourceClaimName"):
        owners = claim["metadata"].get("ownerReferences") or ()
        if not any(o.get("uid") == state.info.uid and o.get("controller") for o in owners):
            raise Rejected(
                f'ResourceClaim "{state.info.key.namespace}/{name}" was not created for pod "{state.info.key}"'
            )
    return claim


def _consumers(claim: Object) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (claim.get("status") or {}).get("reservedFor") or ()
    return found


def _is_reserved(claim: Object, state: State) -> bool:
    return any(c.get("uid") == state.info.uid for c in _consumers(claim))


def _matching(state: State, selector: Mapping[str, Any]) -> Mask:
    return match_terms(state.nodes, selector.get("nodeSelectorTerms") or ())

"""DynamicResources: claims for devices are given devices that the node can use, and are reserved for the pod.

Extended resources that a device class stands for are claimed in the pod's stead, where the node does not offer them.

Upstream: pkg/scheduler/framework/plugins/dynamicresources/{dynamicresources,extendeddynamicresources}.go.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from timonel.objects.meta import Key, Object, controller_of, is_deleting, key_of
from timonel.scheduler import claims as claimlib
from timonel.scheduler import extendedresources
from timonel.scheduler.claims import CLAIMS
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
from timonel.scheduler.podinfo import PodInfo

if TYPE_CHECKING:  # CEL comes with them, which is not paid for by those who claim no devices
    from timonel.scheduler.devicepools import Pools, Taken
    from timonel.scheduler.devices import Claim

SLICES, CLASSES = (f"{name}.resource.k8s.io" for name in ("resourceslices", "deviceclasses"))
MOST_CONSUMERS = 256
UNSEEN_AT_MOST = 120.0  # seconds
BINDING_TIMEOUT = 600.0  # seconds for drivers to make devices ready

ELSEWHERE = "resourceclaim not available on the node"
NOT_ALL = "cannot allocate all claims"
LEFT_OVER = "cannot schedule extended resource claim"


@dataclass(slots=True)
class _Row:
    """What would be written if a node is chosen."""

    allocations: list[tuple[Object, Object]]  # claim, allocation
    mappings: list[Object] = field(default_factory=list)  # of extended resources


@dataclass(slots=True)
class _Wanted:
    allocated: list[Object] = field(default_factory=list)
    open: list[Claim] = field(default_factory=list)
    extended: Object | None = None  # the claim in the pod's stead, without what it asks for
    left_over: Object | None = None  # one from an attempt that failed
    by_row: dict[int, _Row] = field(default_factory=dict)
    reserved: _Row | None = None
    created: Object | None = None
    elsewhere: dict[str, Object] = field(default_factory=dict)  # allocated claims that keep nodes away

    @property
    def is_empty(self) -> bool:
        return not (self.allocated or self.open or self.extended or self.left_over)


class DynamicResources:
    name = "DynamicResources"
    scope = "cluster"
    events = frozenset(
        {"resource-claim", "resource-slice", "device-class", "node-added", "node-changed", "pod-changed"}
    )

    def __init__(self, *, binding_timeout: float = BINDING_TIMEOUT) -> None:
        self._timeout = binding_timeout
        self._cluster: Cluster | None = None
        self._pending: dict[str, Object] = {}  # uid of a claim: an allocation on its way to the API
        self._written: dict[str, Key] = {}  # those of them that the API has, but perhaps not our cache
        self._unseen: dict[str, float] = {}  # claims that we made and the cache may not show before this time

    def attach(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Of claims: the pod's own, and those that give devices back."""
        if event != "resource-claim":
            return True
        claim = new or old
        if claim is None or (_has_devices(old) and not _has_devices(new)):
            return True
        if claim["metadata"].get("namespace") != info.key.namespace:
            return False
        names = {entry.get("resourceClaimName") for entry in info.spec.get("resourceClaims") or ()}
        owner = controller_of(claim)
        return claim["metadata"]["name"] in names or (owner is not None and owner.get("uid") == info.uid)

    def pre_filter(self, state: State) -> set[str] | None:
        self._settle(state)
        wanted = state.notes[self.name] = _Wanted()
        asked = state.info.spec.get("resourceClaims") or ()
        mapped = extendedresources.mapped(state)
        if not asked and not mapped:
            raise Skip
        from timonel.scheduler.devices import AllocationError, Claim

        for entry in asked:
            claim = _claim(state, entry)
            if claim is None:
                continue  # a template of which nothing came
            if claimlib.allocation_of(claim):
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
        if mapped:
            wanted.left_over = extendedresources.left_over(state.info, state.reads.list(CLAIMS))
            if wanted.left_over is None:
                wanted.extended = extendedresources.claim_for(state.info, str(uuid.uuid4()))
        return None

    def _settle(self, state: State) -> None:
        """Forget allocations that the cache shows by now."""
        for uid, key in list(self._written.items()):
            claim = state.reads.get(CLAIMS, key)
            if claim is None and self._unseen.get(uid, 0.0) > self._now():
                continue
            if claim is None or claim["metadata"]["uid"] != uid or claimlib.allocation_of(claim):
                del self._written[uid]
                self._unseen.pop(uid, None)
                self._pending.pop(uid, None)

    def _now(self) -> float:
        return self._cluster.now() if self._cluster is not None else 0.0

    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        wanted: _Wanted = state.notes[self.name]
        if wanted.left_over is not None:
            yield Refusal(np.ones(len(rows), dtype=np.bool_), LEFT_OVER)
            return
        elsewhere = np.zeros(len(rows), dtype=np.bool_)
        for claim in wanted.allocated:
            away = self._away(state, claim, rows)
            elsewhere |= away
            if away.any():
                wanted.elsewhere[claim["metadata"]["uid"]] = claim
        yield Refusal(elsewhere, ELSEWHERE)
        if wanted.open or wanted.extended is not None:
            refused = [not gone and not self._allocates(state, wanted, row)
                       for row, gone in zip(rows.tolist(), elsewhere.tolist(), strict=True)]  # fmt: skip
            yield Refusal(np.array(refused, dtype=np.bool_), NOT_ALL)

    def _away(self, state: State, claim: Object, rows: Ints) -> Mask:
        """Nodes on which an allocated claim is of no use."""
        if claimlib.has_conditions(claim) and claimlib.is_stuck(claim, self._now(), self._timeout):
            return np.ones(len(rows), dtype=np.bool_)
        selector = claimlib.allocation_of(claim).get("nodeSelector")
        if not selector:
            return np.zeros(len(rows), dtype=np.bool_)
        away: Mask = ~_matching(state, selector)[rows]
        return away

    def _allocates(self, state: State, wanted: _Wanted, row: int) -> bool:
        from timonel.scheduler.devices import Claim, allocate

        node = state.nodes.objects[row]
        claims, mappings = list(wanted.open), []
        if wanted.extended is not None:
            needed = {
                resource: name
                for resource, name in extendedresources.mapped(state).items()
                if not state.nodes.allocatable[row, state.nodes.column_of(resource)]
            }
            if needed:
                asked = extendedresources.asked(state.info.spec, needed)
                own = {**wanted.extended, "spec": {"devices": {"requests": asked.requests}}}
                claims.append(Claim(own, lambda name: state.reads.get(CLASSES, Key("", name))))
                mappings = asked.mappings
        if not claims:
            wanted.by_row[row] = _Row([])
            return True

        def matches(selector: Mapping[str, Any]) -> bool:
            return bool(_matching(state, selector)[row])

        found = allocate(
            claims,
            self._pools(state).on(node, matches),
            node=node,
            matches=matches,
            taken=self._taken(state),
            new_id=lambda: str(uuid.uuid4()),
        )
        if found is None:
            return False
        wanted.by_row[row] = _Row(
            [(claim.object, allocation) for claim, allocation in zip(claims, found, strict=True)], mappings
        )
        return True

    def _pools(self, state: State) -> Pools:
        from timonel.scheduler.devicepools import Pools

        return state.once("DynamicResources.pools", lambda: Pools(state.reads.list(SLICES)))

    def _taken(self, state: State) -> Taken:
        from timonel.scheduler.devicepools import taken_by

        def taken() -> Taken:
            known = (
                claimlib.allocation_of(claim)
                for claim in state.reads.list(CLAIMS)
                if claim["metadata"]["uid"] not in self._pending
            )
            return taken_by([*known, *self._pending.values()])

        return state.once("DynamicResources.taken", taken)

    def post_filter(self, state: State, diagnosis: Diagnosis, suppose: Suppose) -> PostFiltered:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is None:  # an earlier plugin has rejected the pod
            return PostFiltered("not found", final=True)
        if wanted.is_empty:
            return PostFiltered("no new claims to deallocate")
        cluster = self._cluster
        if cluster is not None:
            old = wanted.left_over
            if old is not None:
                return PostFiltered(
                    "deletion of ResourceClaim completed", work=lambda: claimlib.delete(cluster, old)
                )
            for claim in wanted.elsewhere.values():
                users = _consumers(claim)
                if not users or (len(users) == 1 and users[0].get("uid") == state.info.uid):
                    return PostFiltered(
                        "deallocation of ResourceClaim completed",
                        work=lambda claim=claim: claimlib.deallocate(cluster, claim),  # type: ignore[misc]
                    )
        return PostFiltered("still not schedulable")

    def reserve(self, state: State, row: int) -> None:
        wanted: _Wanted = state.notes[self.name]
        if row not in wanted.by_row:
            return
        wanted.reserved = wanted.by_row[row]
        for claim, allocation in wanted.reserved.allocations:
            self._pending[claim["metadata"]["uid"]] = allocation

    def unreserve(self, state: State) -> None:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is None:
            return
        if wanted.reserved is not None:
            for claim, _ in wanted.reserved.allocations:
                uid = claim["metadata"]["uid"]
                if uid not in self._written:  # what the API has got is not taken back
                    self._pending.pop(uid, None)
            wanted.reserved = None
        cluster, created = self._cluster, wanted.created
        if created is not None and cluster is not None:
            wanted.created = None
            for known in (self._pending, self._written, self._unseen):
                known.pop(created["metadata"]["uid"], None)
            cluster.in_background(lambda: claimlib.delete(cluster, created))

    def has_to_pre_bind(self, state: State) -> bool:
        wanted: _Wanted = state.notes[self.name]
        return bool(wanted.allocated or (wanted.reserved is not None and wanted.reserved.allocations))

    async def pre_bind(self, state: State, node: str) -> None:
        wanted: _Wanted = state.notes[self.name]
        if not self.has_to_pre_bind(state):
            return
        assert self._cluster is not None
        cluster = self._cluster
        consumer = {"resource": "pods", "name": state.info.key.name, "uid": state.info.uid}
        bound: list[Object] = []
        for claim in wanted.allocated:
            if not _is_reserved(claim, state):
                claim = await claimlib.write(cluster, claim, None, consumer)
            bound.append(claim)
        row = wanted.reserved or _Row([])
        for claim, allocation in row.allocations:
            if not claim["metadata"]["name"]:
                claim = wanted.created = await self._create(cluster, claim)
            claim = await claimlib.write(cluster, claim, allocation, consumer)
            self._written[claim["metadata"]["uid"]] = key_of(claim)
            if wanted.created is not None and key_of(claim) == key_of(wanted.created):
                wanted.created = claim
                await self._tell(cluster, state, claim, row.mappings)
            bound.append(claim)
        waiting = [key_of(claim) for claim in bound if claimlib.has_conditions(claim)]
        if waiting:
            cluster.record(
                state.info.pod,
                "Normal",
                "BindingConditionsPending",
                f"waiting for binding conditions for device on node {node}",
            )
            await claimlib.until_ready(cluster, waiting, self._timeout)

    async def _create(self, cluster: Cluster, claim: Object) -> Object:
        meta = {name: value for name, value in claim["metadata"].items() if name not in ("name", "uid")}
        created = await cluster.create(CLAIMS, {**claim, "metadata": meta})
        uid = created["metadata"]["uid"]
        self._pending[uid] = self._pending.pop(claim["metadata"]["uid"])
        self._unseen[uid] = cluster.now() + UNSEEN_AT_MOST
        return created

    async def _tell(self, cluster: Cluster, state: State, claim: Object, mappings: Sequence[Object]) -> None:
        told = {"resourceClaimName": claim["metadata"]["name"], "requestMappings": list(mappings)}
        patch = {"metadata": {"uid": state.info.uid}, "status": {"extendedResourceClaimStatus": told}}
        await cluster.patch("pods", state.info.key, patch, subresource="status")

    def post_bind(self, state: State, node: str) -> None:
        wanted: _Wanted | None = state.notes.get(self.name)
        if wanted is not None:
            wanted.created = None  # it belongs to the pod now


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


def _has_devices(claim: Object | None) -> bool:
    return claim is not None and bool(claimlib.allocation_of(claim))


def _consumers(claim: Object) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (claim.get("status") or {}).get("reservedFor") or ()
    return found


def _is_reserved(claim: Object, state: State) -> bool:
    return any(c.get("uid") == state.info.uid for c in _consumers(claim))


def _matching(state: State, selector: Mapping[str, Any]) -> Mask:
    return match_terms(state.nodes, selector.get("nodeSelectorTerms") or ())

"""The shell of a GraphControllerType: keeps who owns what over all resources, and examines an object when it matters.

The graph is small: for objects that have owners, who they are; for the rest only the uid. It reads the informers of
other controllers where there are any, and metadata-only ones elsewhere. An owner that the graph does not know is looked
up live before anything is deleted for its absence.

Upstream: pkg/controller/garbagecollector/{graph_builder,garbagecollector}.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from timonel.aio.clock import Clock
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.events import EventRecorder, Recent
from timonel.client.informer import Handler, Informer, InformerFactory
from timonel.client.rest import Client
from timonel.client.transport import Transport, Unreachable
from timonel.control.declare import Family, GraphControllerType, Node, OwnerState
from timonel.control.executors import Executor
from timonel.control.others import NEEDED_VERBS, Others
from timonel.control.workers import Workers
from timonel.machinery.errors import StatusError
from timonel.objects.indexing import namespace_of
from timonel.objects.meta import Key, Object, key_of

ABSENT_OWNERS = 500


class UnknownKind(LookupError):
    """An owner's kind is not served, at least not now."""


class Place(NamedTuple):
    """Where an object is found."""

    resource: str
    key: Key

    def __str__(self) -> str:
        return f"{self.resource} {self.key}"


class GraphController:
    """A service. Runs one GraphControllerType against a cluster."""

    def __init__(
        self,
        what: GraphControllerType,
        *,
        transport: Transport,
        informers: InformerFactory,
        index: ResourceIndex,
        clock: Clock,
    ) -> None:
        self.what, self.name = what, what.name
        self._workers = Workers(
            self.name,
            self.examine,
            clock,
            passing=(StatusError, Unreachable, UnknownKind),
            lane_of=lambda place: place.key.namespace,
        )
        self.queue = self._workers.queue
        self.recorder = EventRecorder(transport, clock, what.name)
        self._client, self._index = Client(transport, index), index
        self._resources = Others(index, informers, self._is_followed, self._came, self._went)
        self._executor = Executor(self._client, index, self.recorder, lambda resource, obj: None)
        self._informers: dict[str, Informer] = {}
        self._places: dict[str, Place] = {}  # by uid: every object there is
        self._dependents: dict[str, set[Place]] = {}  # by the owner's uid
        self._absent: Recent[tuple[str, ...], bool] = Recent(ABSENT_OWNERS)

    async def run(self, ready: asyncio.Event) -> None:
        try:
            await self._resources.adapt()
            for places in list(self._dependents.values()):
                for place in places:
                    self._consider(place)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.recorder.run(asyncio.Event()), name=self.recorder.name)
                self._workers.start(group, self.what.workers)
                group.create_task(self._resources.follow(), name=f"{self.name} resources")
                ready.set()
        finally:
            self._resources.close()
            self.queue.close()

    # ---- resources that come and go

    def _is_followed(self, info: ResourceInfo) -> bool:
        return str(info.resource) not in self.what.ignored and set(info.verbs) >= NEEDED_VERBS

    def _came(self, resource: str, informer: Informer) -> Handler:
        self._informers[resource] = informer
        return self._handler(resource)

    def _went(self, resource: str, informer: Informer) -> None:
        """What is still known of a resource is gone with it."""
        for obj in informer.list():
            self._removed(resource, obj)
        del self._informers[resource]

    # ---- the graph

    def _handler(self, resource: str) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is None:
                assert old is not None
                self._removed(resource, old)
            else:
                self._changed(resource, old, new)

        return changed

    def _changed(self, resource: str, old: Object | None, new: Object) -> None:
        place = Place(resource, key_of(new))
        meta = new["metadata"]
        before, after = _owners(old), _owners(new)
        if old is None:
            self._places[meta["uid"]] = place
        for uid in after - before:
            self._dependents.setdefault(uid, set()).add(place)
        for uid in before - after:
            self._forget(uid, place)
        if before != after or _unblocked(old, new):
            self._wake_waiting_owners(before)
        if after != before:
            self._consider(place)
        if meta.get("deletionTimestamp") and meta.get("finalizers"):
            self.queue.add(place)
            if "foregroundDeletion" in meta["finalizers"] and not _is_waiting(old):
                for dependent in self._dependents.get(meta["uid"], ()):
                    self.queue.add(dependent)

    def _removed(self, resource: str, old: Object) -> None:
        uid, place = old["metadata"]["uid"], Place(resource, key_of(old))
        if self._places.get(uid) == place:
            del self._places[uid]
        owners = _owners(old)
        for owner in owners:
            self._forget(owner, place)
        self._wake_waiting_owners(owners)
        for dependent in self._dependents.get(uid, ()):
            self.queue.add(dependent)

    def _forget(self, owner: str, place: Place) -> None:
        places = self._dependents.get(owner)
        if places is not None:
            places.discard(place)
            if not places:
                del self._dependents[owner]

    def _wake_waiting_owners(self, uids: set[str]) -> None:
        for uid in uids:
            place = self._places.get(uid)
            if place is not None and _is_waiting(self._cached(place)):
                self.queue.add(place)

    def _consider(self, place: Place) -> None:
        """Queue an object some owner of which is unknown, waits for it, or lives elsewhere."""
        obj = self._cached(place) or {"metadata": {}}
        for ref in obj["metadata"].get("ownerReferences") or ():
            owner = self._places.get(ref["uid"])
            if (
                owner is None
                or _is_waiting(self._cached(owner))
                or owner.key.namespace not in ("", place.key.namespace)
                or not _is_meant(ref, owner, self._index.by_kind(ref["apiVersion"], ref["kind"]))
            ):
                self.queue.add(place)
                return

    def _cached(self, place: Place) -> Object | None:
        informer = self._informers.get(place.resource)
        return informer.get(place.key) if informer is not None else None

    # ---- examining

    async def examine(self, place: Place) -> None:
        resource, key = place
        cached = self._cached(place)
        if cached is None:
            return
        live = await self._client.find(resource, key)
        if live is None or live["metadata"]["uid"] != cached["metadata"]["uid"]:
            return
        owners = {
            ref["uid"]: await self._owner_state(ref, live)
            for ref in live["metadata"].get("ownerReferences") or ()
        }
        elsewhere = frozenset(uid for uid in owners if self._lives_elsewhere(uid, live))
        plan = self.what.reconcile(Node(resource, live), Family(owners, self._dependents_of(live), elsewhere))
        outcome = await self._executor.apply(live, plan)
        if outcome.error is not None:
            raise outcome.error

    def _dependents_of(self, obj: Object) -> list[Node]:
        namespace = obj["metadata"].get("namespace", "")
        found: list[Node] = []
        for place in self._dependents.get(obj["metadata"]["uid"], ()):
            dependent = self._cached(place)
            if dependent is not None and (not namespace or place.key.namespace == namespace):
                found.append(Node(place.resource, dependent))
        return found

    def _lives_elsewhere(self, uid: str, obj: Object) -> bool:
        place = self._places.get(uid)
        return place is not None and place.key.namespace not in ("", namespace_of(obj))

    async def _owner_state(self, ref: dict[str, Any], obj: Object) -> OwnerState:
        uid, namespace = ref["uid"], namespace_of(obj)
        place = self._places.get(uid)
        kind: ResourceInfo | None = self._index.by_kind(ref["apiVersion"], ref["kind"])
        if place is not None and place.key.namespace in ("", namespace) and _is_meant(ref, place, kind):
            return OwnerState.WAITING if _is_waiting(self._cached(place)) else OwnerState.SOLID
        identity = (namespace, ref["apiVersion"], ref["kind"], ref["name"], uid)
        if self._absent.get(identity):
            return OwnerState.ABSENT
        if kind is None:
            raise UnknownKind(f"no resource is known for {ref['kind']} in {ref['apiVersion']}")
        if kind.resource.namespaced and not namespace:
            return OwnerState.INVALID
        key = Key(namespace if kind.resource.namespaced else "", ref["name"])
        live = await self._client.find(str(kind.resource), key)
        if live is None or live["metadata"]["uid"] != uid:
            self._absent.put(identity, True)
            return OwnerState.ABSENT
        return OwnerState.WAITING if _is_waiting(live) else OwnerState.SOLID


def _is_meant(ref: Object, place: Place, kind: ResourceInfo | None) -> bool:
    """Whether the object of this uid is the one that the reference describes."""
    return bool(ref["name"] == place.key.name) and (kind is None or str(kind.resource) == place.resource)


def _owners(obj: Object | None) -> set[str]:
    return set() if obj is None else {ref["uid"] for ref in obj["metadata"].get("ownerReferences") or ()}


def _is_waiting(obj: Object | None) -> bool:
    if obj is None:
        return False
    meta = obj["metadata"]
    return bool(meta.get("deletionTimestamp")) and "foregroundDeletion" in (meta.get("finalizers") or ())


def _unblocked(old: Object | None, new: Object) -> bool:
    """Whether a reference stopped to block its owner's deletion."""
    if old is None:
        return False
    blocking = {
        ref["uid"] for ref in new["metadata"].get("ownerReferences") or () if ref.get("blockOwnerDeletion")
    }
    return any(
        ref.get("blockOwnerDeletion") and ref["uid"] not in blocking
        for ref in old["metadata"].get("ownerReferences") or ()
    )

"""What the scheduler watches, and which events come of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from timonel.client.discovery import UnknownResource
from timonel.client.informer import Lister
from timonel.objects.meta import Key, Object
from timonel.scheduler.budgets import BUDGETS
from timonel.scheduler.spreading import CONTROLLERS, SERVICES

# resource: the event that any change of it is
EVENTS: Mapping[str, str] = {
    "persistentvolumeclaims": "claim",
    "persistentvolumes": "volume",
    "storageclasses.storage.k8s.io": "class",
    "csinodes.storage.k8s.io": "csinode",
    "csidrivers.storage.k8s.io": "capacity",
    "volumeattachments.storage.k8s.io": "attachment",
    "csistoragecapacities.storage.k8s.io": "capacity",
    "resourceclaims.resource.k8s.io": "resource-claim",
    "resourceslices.resource.k8s.io": "resource-slice",
    "deviceclasses.resource.k8s.io": "device-class",
}
SELECTING = (SERVICES, *CONTROLLERS.values())
WATCHED = ("pods", "nodes", "namespaces", *EVENTS, *SELECTING, BUDGETS)
KINDS: Mapping[str, str] = {  # as upstream calls what an event is about
    "claim": "PersistentVolumeClaim",
    "volume": "PersistentVolume",
    "class": "StorageClass",
    "csinode": "CSINode",
    "capacity": "CSIStorageCapacity",
    "resource-claim": "ResourceClaim",
    "resource-slice": "ResourceSlice",
    "device-class": "DeviceClass",
    "attachment": "VolumeAttachment",
}
LABELS: Mapping[str, str] = {
    "node-added": "NodeAdd",
    "node-changed": "NodeUpdate",
    "node-deleted": "NodeDelete",
    "pod-added": "AssignedPodAdd",
    "pod-deleted": "AssignedPodDelete",
    "pod-labels-changed": "AssignedPodUpdate",
    "pod-changed": "UnscheduledPodUpdate",
}
AFTER_NOTHING = frozenset({"node-added"})  # what helps a pod that was refused because there were no nodes


class Readings(Lister):
    """What a server does not have is empty."""

    def get(self, resource: str, key: Key) -> Object | None:
        return super().get(resource, key) if self.knows(resource) else None

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        return super().list(resource, namespace) if self.knows(resource) else ()


class Serves(Protocol):
    def resource(self, text: str) -> object: ...


def label_of(event: str, old: Object | None, new: Object | None) -> str:
    """An event as upstream's metrics name it."""
    kind = KINDS.get(event)
    if kind is None:
        return LABELS[event]
    return kind + ("Add" if old is None else "Delete" if new is None else "Update")


def served(index: Serves, resources: Iterable[str]) -> Sequence[str]:
    """Those that the server has; an old one lacks some."""
    found = []
    for resource in resources:
        try:
            index.resource(resource)
        except UnknownResource:
            continue
        found.append(resource)
    return found

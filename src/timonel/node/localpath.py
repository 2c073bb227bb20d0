"""The built-in provisioner `timonel.dev/local-path`: a claim that was scheduled to a node gets a directory of it.

Watches   persistentvolumeclaims with annotation volume.kubernetes.io/selected-node = one of ours; persistentvolumes
Writes    persistentvolumes (create; delete after reclaim Delete), events
Upstream  sig-storage-lib-external-provisioner (controller.go): names, annotations and sentences.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Container
from pathlib import Path
from typing import Any

from timonel.aio.clock import Clock
from timonel.client.events import EventRecorder
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import AlreadyExists, NotFound, StatusError
from timonel.node.follow import Changed, Replaced, follow
from timonel.objects.meta import Key, Object, annotations_of, is_deleting, uid_of

logger = logging.getLogger(__name__)

PROVISIONER = "timonel.dev/local-path"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
CLAIMS = Resource("", "v1", "persistentvolumeclaims", True)
VOLUMES = Resource("", "v1", "persistentvolumes", False)
CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", False)


def wants_volume(claim: Object, nodes: Container[str]) -> bool:
    """Whether the claim waits for us: ours to provision, sent to one of the nodes, still without a volume."""
    marks = annotations_of(claim)
    return (
        marks.get(STORAGE_PROVISIONER) == PROVISIONER
        and marks.get(SELECTED_NODE) in nodes
        and not claim["spec"].get("volumeName")
        and not is_deleting(claim)
    )


def new_volume(claim: Object, storage_class: Object, directory: Path) -> Object:
    meta, node = claim["metadata"], annotations_of(claim)[SELECTED_NODE]
    affinity = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    spec: dict[str, Any] = {
        "accessModes": claim["spec"]["accessModes"],
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "local": {"path": str(directory / volume_name(claim))},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}},
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
        "storageClassName": storage_class["metadata"]["name"],
        "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
    }
    if storage_class.get("mountOptions"):
        spec["mountOptions"] = storage_class["mountOptions"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": spec,
    }


def volume_name(claim: Object) -> str:
    return f"pvc-{uid_of(claim)}"


def is_ours(volume: Object, directory: Path) -> bool:
    """A volume that some agent with this directory made; the path says so."""
    path = (volume["spec"].get("local") or {}).get("path", "")
    made_by_us = annotations_of(volume).get(PROVISIONED_BY) == PROVISIONER
    return made_by_us and path == str(directory / volume["metadata"]["name"])


def is_to_be_deleted(volume: Object) -> bool:
    released = (volume.get("status") or {}).get("phase") == "Released"
    return released and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"


class LocalPathProvisioner:
    """For `nodes`: the one it runs on, or all simulated ones at once, `on_disk` being false: nothing is made there.

    `directory` is where the volumes' directories are.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        records: EventRecorder,
        nodes: Container[str],
        directory: Path,
        *,
        on_disk: bool = True,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._records = records
        self._nodes = nodes
        self._directory = directory
        self._on_disk = on_disk

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(CLAIMS, self._provision), name="claims to provision")
            group.create_task(self._watch(VOLUMES, self._reclaim), name="volumes to delete")

    async def _watch(self, resource: Resource, act: Any) -> None:
        async for news in follow(self._transport, self._clock, resource):
            objects = news.objects if isinstance(news, Replaced) else [news.object]
            if isinstance(news, Changed) and news.is_deleted:
                continue
            for obj in objects:
                try:
                    await act(obj)
                except (StatusError, Unreachable, OSError) as e:
                    logger.warning("Local-path provisioning failed", extra={"error": str(e)})

    async def _provision(self, claim: Object) -> None:
        if not wants_volume(claim, self._nodes):
            return
        meta = claim["metadata"]
        full = f"{meta['namespace']}/{meta['name']}"
        message = f'External provisioner is provisioning volume for claim "{full}"'
        self._records.record(claim, "Normal", "Provisioning", message)
        try:
            storage_class = await self._transport.get(CLASSES, Key("", claim["spec"]["storageClassName"]))
            if self._on_disk:
                path = self._directory / volume_name(claim)
                path.mkdir(0o777, parents=True, exist_ok=True)
                path.chmod(0o777)
            volume = new_volume(claim, storage_class, self._directory)
            await self._transport.create(VOLUMES, volume)
        except AlreadyExists:
            return
        except (StatusError, OSError) as e:
            message = (
                f'failed to provision volume with StorageClass "{claim["spec"]["storageClassName"]}": {e}'
            )
            self._records.record(claim, "Warning", "ProvisioningFailed", message)
            raise
        message = f"Successfully provisioned volume {volume_name(claim)}"
        self._records.record(claim, "Normal", "ProvisioningSucceeded", message)

    async def _reclaim(self, volume: Object) -> None:
        if not is_ours(volume, self._directory) or not is_to_be_deleted(volume):
            return
        if self._on_disk:
            shutil.rmtree(volume["spec"]["local"]["path"], ignore_errors=True)
        try:
            await self._transport.delete(VOLUMES, Key("", volume["metadata"]["name"]), uid=uid_of(volume))
        except NotFound:
            return

"""CSI drivers on this node: taken on from `registry`, named in the CSINode, spoken to for volumes.

Upstream: pkg/volume/csi/{csi_plugin.go,csi_client.go,nodeinfomanager}.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from timonel.node.plugins.registry import Refused
from timonel.node.plugins.rpc import Plugin, PluginFailed
from timonel.objects.meta import Key, Object
from timonel.records import dataclass

logger = logging.getLogger(__name__)

CSI_NODES = Resource("storage.k8s.io", "v1", "csinodes", False)
NODES = Resource("", "v1", "nodes", False)
NODE_ID = "csi.volume.kubernetes.io/nodeid"
STAGES, EXPANDS, TELLS_WRITERS, SETS_GROUP = 1, 3, 5, 6  # NodeServiceCapability.RPC.Type
TRIES = 5


@dataclass(frozen=True, slots=True)
class Access:
    """How a volume is to be mounted: a VolumeCapability."""

    mode: int
    fs_type: str = ""
    flags: tuple[str, ...] = ()
    group: str = ""
    is_block: bool = False


class CsiDriver:
    """The Node service of one driver."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        self._plugin = Plugin(endpoint, "csi.v1.Node")
        self._capabilities: frozenset[int] | None = None

    async def close(self) -> None:
        await self._plugin.close()

    async def info(self) -> tuple[str, int, Mapping[str, str]]:
        """The node's id to the driver, how many volumes it takes (0: any number) and where it is."""
        from timonel.node.plugins.pb import csi_pb2 as pb

        m = await self._plugin.call("NodeGetInfo", pb.NodeGetInfoRequest(), pb.NodeGetInfoResponse)
        return m.node_id, m.max_volumes_per_node, dict(m.accessible_topology.segments)

    async def can(self, what: int) -> bool:
        from timonel.node.plugins.pb import csi_pb2 as pb

        if self._capabilities is None:
            m = await self._plugin.call(
                "NodeGetCapabilities", pb.NodeGetCapabilitiesRequest(), pb.NodeGetCapabilitiesResponse
            )
            self._capabilities = frozenset(c.rpc.type for c in m.capabilities)
        return what in self._capabilities

    async def stage(
        self,
        handle: str,
        path: str,
        access: Access,
        *,
        published: Mapping[str, str],
        secrets: Mapping[str, str],
        attributes: Mapping[str, str],
    ) -> None:
        from timonel.node.plugins.pb import csi_pb2 as pb

        request = pb.NodeStageVolumeRequest(
            volume_id=handle,
            publish_context=published,
            staging_target_path=path,
            volume_capability=_capability(access),
            secrets=secrets,
            volume_context=attributes,
        )
        await self._plugin.call("NodeStageVolume", request, pb.NodeStageVolumeResponse)

    async def unstage(self, handle: str, path: str) -> None:
        from timonel.node.plugins.pb import csi_pb2 as pb

        request = pb.NodeUnstageVolumeRequest(volume_id=handle, staging_target_path=path)
        await self._plugin.call("NodeUnstageVolume", request, pb.NodeUnstageVolumeResponse)

    async def publish(
        self,
        handle: str,
        target: str,
        access: Access,
        *,
        staged: str,
        read_only: bool,
        published: Mapping[str, str],
        secrets: Mapping[str, str],
        attributes: Mapping[str, str],
    ) -> None:
        from timonel.node.plugins.pb import csi_pb2 as pb

        request = pb.NodePublishVolumeRequest(
            volume_id=handle,
            publish_context=published,
            staging_target_path=staged,
            target_path=target,
            volume_capability=_capability(access),
            readonly=read_only,
            secrets=secrets,
            volume_context=attributes,
        )
        await self._plugin.call("NodePublishVolume", request, pb.NodePublishVolumeResponse)

    async def unpublish(self, handle: str, target: str) -> None:
        from timonel.node.plugins.pb import csi_pb2 as pb

        request = pb.NodeUnpublishVolumeRequest(volume_id=handle, target_path=target)
        await self._plugin.call("NodeUnpublishVolume", request, pb.NodeUnpublishVolumeResponse)

    async def expand(self, handle: str, path: str, staged: str, size: int, access: Access) -> int:
        from timonel.node.plugins.pb import csi_pb2 as pb

        request = pb.NodeExpandVolumeRequest(
            volume_id=handle,
            volume_path=path,
            staging_target_path=staged,
            capacity_range=pb.CapacityRange(required_bytes=size),
            volume_capability=_capability(access),
        )
        m = await self._plugin.call("NodeExpandVolume", request, pb.NodeExpandVolumeResponse)
        return int(m.capacity_bytes)


def _capability(access: Access) -> Any:
    from timonel.node.plugins.pb import csi_pb2 as pb

    mount = pb.VolumeCapability.MountVolume(
        fs_type=access.fs_type, mount_flags=access.flags, volume_mount_group=access.group
    )
    mode = pb.VolumeCapability.AccessMode(mode=access.mode)
    if access.is_block:
        return pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=mode)
    return pb.VolumeCapability(mount=mount, access_mode=mode)


class CsiDrivers:
    """A handler of the registry."""

    def __init__(self, transport: Transport, node: str) -> None:
        self._transport = transport
        self._node = node
        self._drivers: dict[str, CsiDriver] = {}

    def get(self, name: str) -> CsiDriver | None:
        return self._drivers.get(name)

    async def take(self, name: str, endpoint: str, versions: tuple[str, ...]) -> None:
        if not any(v.lstrip("v").startswith("1.") for v in versions):
            raise Refused(f"none of the CSI versions {list(versions)} of driver {name} is supported")
        driver = CsiDriver(name, endpoint)
        try:
            node_id, limit, topology = await driver.info()
            await self._tell(name, node_id, limit, topology)
        except (StatusError, Unreachable) as e:
            await driver.close()
            raise PluginFailed("Unavailable", f"error updating CSINode object with CSI driver: {e}") from e
        except PluginFailed:
            await driver.close()
            raise
        await self._close(name)
        self._drivers[name] = driver
        logger.info("Took on a CSI driver", extra={"driver": name})

    async def drop(self, name: str) -> None:
        await self._close(name)
        try:
            await self._write(lambda drivers: [d for d in drivers if d["name"] != name])
        except (StatusError, Unreachable) as e:
            logger.warning("Could not take a driver from the CSINode", extra={"error": str(e)})

    async def close(self) -> None:
        for name in list(self._drivers):
            await self._close(name)

    async def _close(self, name: str) -> None:
        driver = self._drivers.pop(name, None)
        if driver is not None:
            await driver.close()

    async def _tell(self, name: str, node_id: str, limit: int, topology: Mapping[str, str]) -> None:
        entry: dict[str, Any] = {"name": name, "nodeID": node_id, "topologyKeys": sorted(topology)}
        if limit > 0:
            entry["allocatable"] = {"count": limit}
        if not topology:
            entry["topologyKeys"] = None
        node = await self._transport.get(NODES, Key("", self._node))
        annotations = node["metadata"].get("annotations") or {}
        ids = {**json.loads(annotations.get(NODE_ID) or "{}"), name: node_id}
        told = {NODE_ID: json.dumps(ids, sort_keys=True, separators=(",", ":"))}
        patch = {"metadata": {"annotations": told, "labels": dict(topology)}}
        await self._transport.patch(NODES, Key("", self._node), patch)
        await self._write(lambda drivers: [*(d for d in drivers if d["name"] != name), entry], node)

    async def _write(self, change: Any, node: Object | None = None) -> None:
        """The CSINode belongs to this node alone; another writer may only have been an earlier life of ours."""
        for _ in range(TRIES):
            try:
                found = await self._transport.get(CSI_NODES, Key("", self._node))
            except NotFound:
                if node is None:
                    return
                try:
                    await self._transport.create(CSI_NODES, self._new(change([]), node))
                    return
                except AlreadyExists:
                    continue
            drivers = change((found.get("spec") or {}).get("drivers") or [])
            if drivers == (found.get("spec") or {}).get("drivers"):
                return
            try:
                await self._transport.update(CSI_NODES, {**found, "spec": {"drivers": drivers}})
                return
            except Conflict:
                continue
        raise PluginFailed("Aborted", "the CSINode changed again and again")

    def _new(self, drivers: list[Any], node: Object) -> Object:
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": node["metadata"]["uid"]}
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": self._node, "ownerReferences": [owner]},
            "spec": {"drivers": drivers},
        }

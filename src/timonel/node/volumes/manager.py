"""One pod's volumes on this node: set up before its containers, refreshed while they run, taken down after them.

What is written (configMap, secret, projected, downwardAPI) is computed first, with the API's help, and then put on disk
in a worker thread. Secrets and tokens live on a tmpfs. Everything is below the pod's own directory:
`volumes/KIND/NAME`, so that a restarted agent finds it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timonel.aio.threads import Threads
from timonel.node.references import claim_name
from timonel.node.volumes import (
    atomic_writer,
    config_map,
    csi,
    downward_api,
    empty_dir,
    host_path,
    mounts,
    nfs,
    ownership,
    persistent_claim,
    projected,
    secret,
)
from timonel.node.volumes.csi import CsiVolumes
from timonel.node.volumes.image import ImageVolumes
from timonel.node.volumes.source import Context, Files, VolumeError
from timonel.node.volumes.subpath import SubPaths
from timonel.objects.meta import Object

WRITTEN = ("configMap", "secret", "projected", "downwardAPI")
SUB_PATHS = "volume-subpaths"
IN_MEMORY = ("secret", "projected", "downwardAPI")


def read_only(pod: Object) -> frozenset[str]:
    """Volumes that the pod's containers cannot write to, whatever their mounts say."""
    return frozenset(
        volume["name"]
        for volume in pod["spec"].get("volumes") or ()
        if any(kind in volume for kind in WRITTEN)
        or "image" in volume
        or any((volume.get(kind) or {}).get("readOnly") for kind in ("persistentVolumeClaim", "nfs", "csi"))
    )


def _of_nfs(
    context: Context, volume: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any], Sequence[str]] | None:
    """The name of its place, the source and mount options."""
    if "nfs" in volume:
        return volume["name"], volume["nfs"], ()
    if "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
        return None
    pv = persistent_claim.volume_of(context, volume)
    if "nfs" not in pv["spec"]:
        return None
    return str(pv["metadata"]["name"]), pv["spec"]["nfs"], pv["spec"].get("mountOptions") or ()


def _of_csi(context: Context, volume: Mapping[str, Any]) -> csi.Wanted | None:
    if "csi" in volume:
        return csi.of_pod(context.pod, volume)
    if "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
        return None
    found = persistent_claim.volume_of(context, volume)
    if "csi" not in found["spec"]:
        return None
    return csi.of_claim(found, volume)


class PodVolumes:
    """`root` is the pod's directory. `renew_at`: when a token wants replacing."""

    def __init__(
        self,
        root: Path,
        threads: Threads,
        csi: CsiVolumes | None = None,
        images: ImageVolumes | None = None,
    ) -> None:
        self._root = root
        self._images = images
        self._csi = csi
        self._threads = threads
        self.paths: Mapping[str, str] = {}
        self.renew_at: float | None = None
        self.sub_paths = SubPaths(root / SUB_PATHS)

    async def set_up(self, context: Context) -> None:
        """All volumes of the pod; safe to repeat."""
        written = await self._compute(context)
        await self._threads.run(self._make_root)
        published = await self._publish(context)
        self.paths = await self._threads.run(self._make, context, written, published)
        await self._grow(context)

    async def refresh(self, context: Context) -> None:
        """Write again what follows API objects; what did not change is not touched."""
        written = await self._compute(context)
        await self._threads.run(self._write, context, written)
        await self._grow(context)

    async def _grow(self, context: Context) -> None:
        for volume in context.pod["spec"].get("volumes") or ():
            wanted = _of_csi(context, volume)
            if self._csi is None or wanted is None or wanted.is_ephemeral:
                continue
            claim, pv = context.claims[claim_name(context.pod, volume) or ""]
            try:
                await self._csi.grow(wanted, claim, pv)
            except VolumeError as e:
                raise VolumeError(f'failed to expand volume "{volume["name"]}" : {e}') from e

    async def tear_down(self) -> None:
        """Unmount and delete everything of the pod but what lives elsewhere (hostPath, claims)."""
        if self._csi is not None:
            await self._csi.unpublish(self._root.name)
        if self._images is not None:
            await self._images.tear_down(self._root)
        await self._threads.run(self._remove)

    async def _publish(self, context: Context) -> dict[str, str]:
        """Volumes that others provide, by name: where they are."""
        found = dict[str, str]()
        for volume in context.pod["spec"].get("volumes") or ():
            try:
                if (remote := _of_nfs(context, volume)) is not None:
                    name, source, options = remote
                    path = self._root / "volumes" / "nfs" / name
                    await nfs.set_up(path, source, options)
                    found[volume["name"]] = str(path)
                    continue
                if "image" in volume and self._images is not None:
                    path = self._path(volume)
                    await self._images.set_up(context, volume, path)
                    found[volume["name"]] = str(path)
                    continue
                wanted = _of_csi(context, volume)
                if wanted is None:
                    continue
                if self._csi is None:
                    raise VolumeError("CSI drivers are not spoken to on this node")
                found[volume["name"]] = await self._csi.publish(context, wanted)
            except VolumeError as e:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {e}') from e
        return found

    async def _compute(self, context: Context) -> dict[str, Files]:
        found = dict[str, Files]()
        renewals = list[float]()
        for volume in context.pod["spec"].get("volumes") or ():
            name = volume["name"]
            try:
                if "configMap" in volume:
                    found[name] = config_map.files(context, volume["configMap"])
                elif "secret" in volume:
                    found[name] = secret.files(context, volume["secret"])
                elif "downwardAPI" in volume:
                    found[name] = downward_api.files(context, volume["downwardAPI"])
                elif "projected" in volume:
                    result = await projected.files(context, volume["projected"])
                    found[name] = result.files
                    if result.renew_at is not None:
                        renewals.append(result.renew_at)
            except VolumeError as e:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {e}') from e
        self.renew_at = min(renewals, default=None)
        return found

    def _path(self, volume: Mapping[str, Any]) -> Path:
        kind = next((k for k in volume if k != "name"), "emptyDir")
        return self._root / "volumes" / kind / str(volume["name"])

    def _make_root(self) -> None:
        self._root.mkdir(0o711, parents=True, exist_ok=True)

    def _make(
        self, context: Context, written: Mapping[str, Files], published: Mapping[str, str]
    ) -> dict[str, str]:
        paths = dict(published)
        for volume in context.pod["spec"].get("volumes") or ():
            name = volume["name"]
            if name in published:
                continue
            try:
                paths[name] = self._make_one(context, volume, written)
            except (VolumeError, OSError) as e:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {e}') from e
        return paths

    def _make_one(self, context: Context, volume: Mapping[str, Any], written: Mapping[str, Files]) -> str:
        if "hostPath" in volume:
            return host_path.set_up(volume["hostPath"])
        if "persistentVolumeClaim" in volume or "ephemeral" in volume:
            found = persistent_claim.set_up(context, volume)
            if not Path(found).is_block_device():
                self._give(context, Path(found))
            return found
        path = self._path(volume)
        kind = path.parent.name
        if kind in WRITTEN:
            path.mkdir(0o755, parents=True, exist_ok=True)
            if kind in IN_MEMORY and not mounts.is_mounted(path):
                mounts.mount_tmpfs(path, 0)
                path.chmod(0o755)
            atomic_writer.write(path, written[volume["name"]], group=context.fs_group)
        elif kind == "emptyDir":
            is_new = not path.exists()
            empty_dir.set_up(path, volume.get("emptyDir") or {}, empty_dir.memory_bound(context, volume))
            if is_new:
                self._give(context, path)
        else:
            raise VolumeError(f"no volume plugin matched: {kind} is not supported on this node")
        return str(path)

    @staticmethod
    def _give(context: Context, path: Path) -> None:
        if context.fs_group is not None:
            security = context.pod["spec"].get("securityContext") or {}
            lazily = security.get("fsGroupChangePolicy") == "OnRootMismatch"
            ownership.give_to_group(path, context.fs_group, only_if_root_differs=lazily)

    def _write(self, context: Context, written: Mapping[str, Files]) -> None:
        for volume in context.pod["spec"].get("volumes") or ():
            files = written.get(volume["name"])
            if files is not None:
                atomic_writer.write(self._path(volume), files, group=context.fs_group)

    def _remove(self) -> None:
        for name in (SUB_PATHS, "volumes"):
            root = self._root / name
            mounts.clear(root)  # or nothing is deleted: behind a mount is what lives elsewhere
            shutil.rmtree(root, ignore_errors=True)
        self.paths = {}

"""Volumes of images' files, read-only, where the runtime can show an image at a directory.

Upstream: pkg/volume/image/image.go, kuberuntime_manager.go (getImageVolumes).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timonel.aio.threads import Threads
from timonel.node import imagenames
from timonel.node.cri.errors import NotSupported, RuntimeFailure
from timonel.node.cri.runtime import Runtime
from timonel.node.images import ImageError, ImageManager
from timonel.node.volumes import mounts
from timonel.node.volumes.source import Context, VolumeError
from timonel.objects.meta import Object

KIND = "image"


def names(pod: Object) -> list[str]:
    """The full names of the images that are a pod's volumes."""
    found = ((v.get("image") or {}).get("reference") for v in pod["spec"].get("volumes") or ())
    return [imagenames.normalized(reference) for reference in found if reference]


class ImageVolumes:
    def __init__(self, runtime: Runtime, images: ImageManager, threads: Threads) -> None:
        self._runtime = runtime
        self._images = images
        self._threads = threads

    async def set_up(self, context: Context, volume: Mapping[str, Any], path: Path) -> None:
        """Pull the image as its policy says, and show it. Safe to repeat."""
        source = volume["image"]
        reference = source.get("reference") or ""
        if await self._threads.run(_make, path):
            return
        wanted = {
            "name": volume["name"],
            "image": reference,
            "imagePullPolicy": source.get("pullPolicy") or "IfNotPresent",
        }
        names = [ref.get("name", "") for ref in context.pod["spec"].get("imagePullSecrets") or ()]
        found = (context.sources.secrets.get(name) for name in names)
        try:
            await self._images.ensure(context.pod, wanted, [secret for secret in found if secret is not None])
            await self._runtime.mount_image(imagenames.normalized(reference), str(path))
        except ImageError as e:
            raise VolumeError(str(e)) from e
        except NotSupported as e:
            raise VolumeError(e.message) from e
        except RuntimeFailure as e:
            raise VolumeError(f"failed to mount image {reference}: {e.message}") from e

    async def tear_down(self, root: Path) -> None:
        """All of a pod; `root` is its directory."""
        for path in await self._threads.run(mounts.mounts_below, root / "volumes" / KIND):
            await self._runtime.unmount_image(str(path))


def _make(path: Path) -> bool:
    """Whether the image is there already."""
    path.mkdir(0o755, parents=True, exist_ok=True)
    return mounts.is_mounted(path)

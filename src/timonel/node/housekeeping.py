"""The node's slow chores: long logs are put aside, unused images go when the disk fills up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.client.events import EventRecorder
from timonel.node import imagegc, logrotation
from timonel.node.containerd import PAUSE_IMAGE
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Container, ContainerState, Image, Runtime
from timonel.node.imagerecords import PullRecords
from timonel.node.imagesettings import ImageSettings
from timonel.node.nodestatus import Machine
from timonel.node.podruntime import PodRuntime
from timonel.objects.meta import Object

logger = logging.getLogger(__name__)

PERIOD = 60.0


class Housekeeping:
    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        threads: Threads,
        pods: Callable[[], Iterable[PodRuntime]],
        machine: Callable[[], Awaitable[Machine]],
        settings: ImageSettings,
        tell: tuple[EventRecorder, Callable[[], Object]],
        shown: Callable[[], Iterable[str]] = tuple,
        pulls: PullRecords | None = None,
    ) -> None:
        """`tell`: who records Events, and the Node that they are about. `shown`: images that are pods' volumes."""
        self._shown = shown
        self._pulls = pulls
        self._settings = settings
        self._tell = tell
        self._runtime = runtime
        self._clock = clock
        self._threads = threads
        self._pods = pods
        self._machine = machine
        self._last_used: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await self._clock.sleep(PERIOD)
            try:
                await self._rotate_logs()
                await self._collect_images()
            except (RuntimeFailure, OSError) as e:
                logger.warning("Housekeeping failed", extra={"error": str(e)})

    def _containers(self) -> list[Container]:
        return [c for runtime in self._pods() for c in runtime.containers]

    async def _rotate_logs(self) -> None:
        running = [c for c in self._containers() if c.state is ContainerState.RUNNING and c.log_path]
        for container in running:
            path = Path(container.log_path)
            if await self._threads.run(logrotation.is_too_long, path):
                await self._threads.run(logrotation.put_aside, path, self._clock.now())
                await self._runtime.reopen_log(container.id)

    async def free_images(self) -> None:
        """All that nobody uses, however young: the disk is short."""
        await self._collect_images(everything=True)

    async def _collect_images(self, *, everything: bool = False) -> None:
        images = await self._runtime.list_images()
        now = self._clock.now()
        if self._pulls is not None:
            self._pulls.keep({image.id for image in images}, now)
        used_names = {name for c in self._containers() for name in (c.image, c.image_ref)} | {*self._shown()}
        in_use = {i.id for i in images if used_names.intersection((i.id, *i.tags, *i.digests))}
        for image in images:
            if image.id in in_use or image.id not in self._last_used:
                self._last_used[image.id] = now
        machine, settings = await self._machine(), self._settings

        def doomed(wanted: int, age: float) -> list[Image]:
            return imagegc.doomed(
                images, self._last_used, in_use, {PAUSE_IMAGE}, now=now, wanted=wanted, age=age
            )

        if everything:
            await self._remove(doomed(machine.disk, 0.0))
            return
        old = doomed(machine.disk, settings.oldest) if settings.oldest else []
        await self._remove(old)
        images = [image for image in images if image not in old]
        free = machine.disk_available + sum(image.size for image in old)
        wanted = imagegc.bytes_to_free(machine.disk, free, settings)
        if wanted == 0:
            return
        found = doomed(wanted, settings.youngest)
        await self._remove(found)
        freed = sum(image.size for image in found)
        if freed < wanted:
            records, node = self._tell
            message = (
                f"Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only "
                f"found {freed} bytes eligible to free."
            )
            records.record(node(), "Warning", "FreeDiskSpaceFailed", message)

    async def _remove(self, images: Iterable[Image]) -> None:
        for image in images:
            logger.info("Removing an unused image", extra={"image": image.id})
            await self._runtime.remove_image(image.id)
            self._last_used.pop(image.id, None)

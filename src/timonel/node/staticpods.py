"""The pods that the node runs of its own accord: reads their manifests, and keeps their mirrors in the API server.

Upstream: pkg/kubelet/config/file_linux.go, pkg/kubelet/pod/{pod_manager.go,mirror_client.go}.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from timonel.aio.clock import Clock, outside, upkeep, wait_until
from timonel.aio.threads import Threads
from timonel.aio.workqueue import WorkQueue
from timonel.client.transport import Transport, Unreachable
from timonel.machinery.errors import AlreadyExists, NotFound, StatusError
from timonel.node import manifests
from timonel.node.inotify import DirectoryWatch
from timonel.node.manifests import BadManifest
from timonel.node.statuswriter import PODS, StatusWriter
from timonel.objects.meta import Key, Object, is_deleting, key_of, uid_of

logger = logging.getLogger(__name__)

LOOK_AGAIN = 20.0  # also when nothing was told: the directory may be on a file system that tells nothing
RETRY = 1.0


class ManifestFolder:
    """`read` and `watch` are for `pods`."""

    def __init__(self, directory: Path | None, node: str, clock: Clock, threads: Threads) -> None:
        self._directory = directory
        self._node = node
        self._clock = clock
        self._threads = threads
        self._known: dict[str, tuple[str, Object]] = {}  # file -> text, pod
        self._told: dict[str, str] = {}  # file -> what was wrong with it

    async def read(self) -> list[Object]:
        if self._directory is None:
            return []
        texts = await self._threads.run(_texts, self._directory)
        self._known = {name: known for name, known in self._known.items() if name in texts}
        for name, text in texts.items():
            if name in self._known and self._known[name][0] == text:
                continue
            self._known.pop(name, None)
            try:
                pod = manifests.static_pod(text, file=name, node=self._node, now=self._clock.now())
            except BadManifest as e:
                if self._told.get(name) != str(e):
                    logger.warning("Could not read a static pod", extra={"file": name, "error": str(e)})
                self._told[name] = str(e)
                continue
            self._told.pop(name, None)
            self._known[name] = (text, pod)
        return [pod for _, pod in self._known.values()]

    async def watch(self, changed: Callable[[Sequence[Object]], None]) -> None:
        """Tell what there is after each change, for ever."""
        if self._directory is None:
            return
        with DirectoryWatch(self._directory) as seen:
            while True:
                changed(await self.read())
                await wait_until(upkeep(self._clock, lazy=True), seen.changed, LOOK_AGAIN)
                seen.changed.clear()


def _texts(directory: Path) -> dict[str, str]:
    found = dict[str, str]()
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.is_file() and not path.name.startswith("."):
            found[path.name] = path.read_text(encoding="utf-8", errors="replace")
    return found


class Mirrors:
    """Brings the mirrors to what runs, one pod name at a time."""

    def __init__(
        self, transport: Transport, clock: Clock, statuses: StatusWriter, node: Callable[[], Object | None]
    ) -> None:
        self._transport = transport
        self._clock = outside(clock)
        self._statuses = statuses
        self._node = node
        self._queue: WorkQueue[Key] = WorkQueue(self._clock)
        self._static: dict[Key, Object] = {}
        self._mirrors: dict[Key, Object] = {}

    async def run(self) -> None:
        try:
            while True:
                async with self._queue.take() as key:
                    try:
                        await self._settle(key)
                    except (StatusError, Unreachable) as e:
                        logger.info("Could not write a mirror pod", extra={"pod": str(key), "error": str(e)})
                        self._queue.add_after(key, RETRY)
        finally:
            self._queue.close()

    def show(self, pod: Object) -> None:
        """It runs here."""
        self._static[key_of(pod)] = pod
        self._queue.add(key_of(pod))

    def drop(self, pod: Object) -> None:
        """It runs here no more."""
        key = key_of(pod)
        if key in self._static and uid_of(self._static[key]) == uid_of(pod):
            del self._static[key]
            self._queue.add(key)

    def all_seen(self, mirrors: Sequence[Object]) -> None:
        """These are all that the API server has."""
        before = self._mirrors
        self._mirrors = {key_of(mirror): mirror for mirror in mirrors}
        for key in before.keys() | self._mirrors.keys() | self._static.keys():
            self._queue.add(key)

    def seen(self, mirror: Object, *, is_deleted: bool) -> None:
        key = key_of(mirror)
        if not is_deleted:
            self._mirrors[key] = mirror
        elif key in self._mirrors and uid_of(self._mirrors[key]) == uid_of(mirror):
            del self._mirrors[key]
        self._queue.add(key)

    async def _settle(self, key: Key) -> None:
        static, mirror = self._static.get(key), self._mirrors.get(key)
        if mirror is not None and (
            static is None or is_deleting(mirror) or not manifests.is_mirror_of(mirror, static)
        ):
            await self._delete(key, mirror)
            mirror = None
        if static is None:
            return
        if mirror is None:
            node = self._node()
            if node is None:
                self._queue.add_after(key, RETRY)
                return
            try:
                mirror = await self._transport.create(
                    PODS, manifests.mirror_of(static, node), namespace=key.namespace
                )
            except AlreadyExists:
                mirror = await self._transport.get(PODS, key)
                if not manifests.is_mirror(mirror):
                    raise  # somebody else's pod has the name
            self._mirrors[key] = mirror
        self._statuses.mirror_is(uid_of(static), mirror)

    async def _delete(self, key: Key, mirror: Object) -> None:
        try:
            await self._transport.delete(PODS, key, uid=uid_of(mirror), grace_period=0)
        except NotFound:
            logger.debug("The mirror pod was gone already", extra={"pod": str(key)})
        if self._mirrors.get(key) is mirror:
            del self._mirrors[key]


async def keep(folder: ManifestFolder, mirrors: Mirrors, changed: Callable[[Sequence[Object]], None]) -> None:
    """Both, for ever."""
    async with asyncio.TaskGroup() as group:
        group.create_task(folder.watch(changed), name="manifests")
        group.create_task(mirrors.run(), name="mirror pods")

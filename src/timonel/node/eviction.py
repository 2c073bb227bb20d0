"""Ends pods before the node runs out of what they all need. What is decided, and about whom, is in `pressure`.

It looks every ten seconds, as upstream does: memory and disks tell nobody that they get short. What pods use is read
only when somebody must go, or where a pod has a limit on the disk it may use.

Upstream: pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from timonel.aio.clock import Clock
from timonel.aio.threads import Threads
from timonel.node import admission, diskusage, podspec, pressure
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Runtime
from timonel.node.diskusage import Held
from timonel.node.measures import Measures
from timonel.node.podrunner import Ending, PodRunner
from timonel.node.podruntime import CONTAINER_NAME, POD_UID
from timonel.node.pressure import Memory, Settings, Signal, Supplies, Threshold, Usage
from timonel.objects.meta import Object, uid_of

logger = logging.getLogger(__name__)

PERIOD = 10.0
AT_ONCE = 1.0  # seconds that a pod gets whose end cannot wait
GONE_WITHIN = 30.0  # nobody else goes until then, unless the pod is gone
LOOK_AGAIN = 1.0
EMPTY_DIRS = Path("volumes") / "emptyDir"  # below a pod's directory


class Recorder(Protocol):
    def record(self, about: Object, type: str, reason: str, message: str) -> None: ...


class Evictions:
    """`supplies` reads what is left; `free_images` removes what nobody uses; `room` is where pods' directories are."""

    def __init__(
        self,
        *,
        settings: Settings,
        runtime: Runtime,
        clock: Clock,
        threads: Threads,
        records: Recorder,
        runners: Callable[[], Iterable[PodRunner]],
        supplies: Callable[[], Awaitable[Supplies]],
        free_images: Callable[[], Awaitable[None]],
        room: Path,
        log_root: str,
        measures: Measures | None = None,
    ) -> None:
        self._measures = measures or Measures()
        self._settings, self._runtime, self._clock, self._threads = settings, runtime, clock, threads
        self._records, self._runners, self._supplies = records, runners, supplies
        self._free_images, self._room, self._log_root = free_images, room, log_root
        self._memory = Memory()
        self.conditions: frozenset[str] = frozenset()

    async def run(self) -> None:
        while True:
            await self._clock.sleep(PERIOD)
            try:
                ended = await self.look()
            except (RuntimeFailure, OSError) as e:
                logger.warning("Could not see to what is left on the node", extra={"error": str(e)})
                continue
            if ended is not None:
                await self._until_gone(ended)

    async def look(self) -> PodRunner | None:
        """Once; the pod that was ended, if any."""
        over = await self._end_who_is_over_limits()
        if over is not None:
            return over
        supplies = await self._supplies()
        act = self._judge(supplies)
        if act and pressure.resource_of(act[0].signal) in ("ephemeral-storage", "inodes"):
            await self._free_images()
            supplies = await self._supplies()
            act = self._judge(supplies)
        return await self._end_one(act[0], supplies) if act else None

    def _judge(self, supplies: Supplies) -> Sequence[Threshold]:
        verdict, self._memory = pressure.judge(self._memory, self._settings, supplies, self._clock.now())
        if verdict.conditions != self.conditions:
            logger.info("Pressure on the node", extra={"conditions": sorted(verdict.conditions)})
        self.conditions = verdict.conditions
        return verdict.act

    # ---- who goes

    def _active(self) -> list[PodRunner]:
        return [r for r in self._runners() if r.is_syncing]

    async def _end_one(self, threshold: Threshold, supplies: Supplies) -> PodRunner | None:
        by_uid = {r.uid: r for r in self._active()}
        usages = await self._usages([r.pod for r in by_uid.values()], threshold.signal)
        for usage in pressure.ranked(usages, threshold.signal):
            if admission.is_critical(usage.pod):
                continue
            grace = AT_ONCE if threshold.grace == 0 else self._settings.longest_grace
            text = pressure.message(usage, threshold, supplies[threshold.signal])
            runner = by_uid[uid_of(usage.pod)]
            self._measures.evictions[str(threshold.signal)] += 1
            self._end(runner, Ending(pressure.REASON, text, text, grace))
            return runner
        logger.warning("Nobody can be evicted", extra={"signal": str(threshold.signal)})
        return None

    async def _end_who_is_over_limits(self) -> PodRunner | None:
        """All of them; the last one is the answer."""
        bounded = {r.uid: r for r in self._active() if pressure.limits_disk(r.pod)}
        if not bounded:
            return None
        found: PodRunner | None = None
        for usage in await self._usages([r.pod for r in bounded.values()], Signal.NODE_DISK):
            volumes = await self._empty_dirs(uid_of(usage.pod))
            text = pressure.over_its_limits(usage, {name: held.size for name, held in volumes.items()})
            if text:
                found = bounded[uid_of(usage.pod)]
                self._end(found, Ending(pressure.REASON, text, grace=AT_ONCE))
        return found

    def _end(self, runner: PodRunner, ending: Ending) -> None:
        self._records.record(runner.pod, "Warning", pressure.REASON, ending.message)
        runner.end(ending)

    async def _until_gone(self, runner: PodRunner) -> None:
        until = self._clock.monotonic() + GONE_WITHIN
        while runner.holds_resources and self._clock.monotonic() < until:
            await self._clock.sleep(LOOK_AGAIN)

    # ---- what pods use

    async def _usages(self, pods: Sequence[Object], signal: Signal) -> list[Usage]:
        used: dict[str, dict[str, dict[str, int]]] = {}
        for stats in await self._runtime.stats():
            if POD_UID in stats.labels:
                used.setdefault(stats.labels[POD_UID], {})[stats.labels.get(CONTAINER_NAME, "")] = {
                    "memory": stats.memory_working_set,
                    "ephemeral-storage": stats.disk_used,
                }
        wants_disk = pressure.resource_of(signal) in ("ephemeral-storage", "inodes")
        return [await self._usage(pod, used.get(uid_of(pod), {}), wants_disk=wants_disk) for pod in pods]

    async def _usage(
        self, pod: Object, containers: Mapping[str, dict[str, int]], *, wants_disk: bool
    ) -> Usage:
        by_container = {name: dict(found) for name, found in containers.items()}
        shared = Held()
        if wants_disk:
            logs = Path(podspec.log_directory(pod, self._log_root))
            for name, found in by_container.items():
                log = await self._threads.run(diskusage.held, logs / name)
                found["ephemeral-storage"] += log.size
                found["inodes"] = log.inodes
            shared = sum((await self._empty_dirs(uid_of(pod))).values(), Held())
        total = {
            resource: sum(found.get(resource, 0) for found in by_container.values())
            for resource in ("memory", "ephemeral-storage", "inodes")
        }
        total["ephemeral-storage"] += shared.size
        total["inodes"] += shared.inodes
        return Usage(pod, total, by_container)

    async def _empty_dirs(self, uid: str) -> dict[str, Held]:
        """Those on the disk, by the name of the volume."""

        def read() -> dict[str, Held]:
            root = self._room / uid / EMPTY_DIRS
            try:
                device = root.stat().st_dev
                return {d.name: diskusage.held(d) for d in root.iterdir() if d.stat().st_dev == device}
            except OSError:
                return {}

        return await self._threads.run(read)

"""Sends pod statuses to the API server: the newest one per pod, one at a time, and the deletion after the last one.

Upstream: pkg/kubelet/status/status_manager.go (patch of /status with the uid, deletion with grace 0 and the uid).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import field

from timonel.aio.backoff import doubled
from timonel.aio.clock import Clock
from timonel.aio.workqueue import WorkQueue
from timonel.client.transport import Resource, Transport, Unreachable
from timonel.machinery.errors import Conflict, NotFound, StatusError
from timonel.node import manifests, podstatus
from timonel.objects.meta import Object, key_of, uid_of
from timonel.records import dataclass

logger = logging.getLogger(__name__)

PODS = Resource("", "v1", "pods", True)
WORKERS = 8
RETRY = 1.0


@dataclass(slots=True)
class _Entry:
    pod: Object
    wanted: podstatus.Status
    acknowledged: podstatus.Status | None = None
    version: int = 0  # of the object that our last write made
    is_doomed: bool = False
    failures: int = field(default=0)


class StatusWriter:
    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._entries: dict[str, _Entry] = {}
        self._mirrors: dict[str, Object] = {}  # uid of a static pod -> the pod that shows it

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(WORKERS):
                    group.create_task(self._work(), name=f"pod statuses {number}")
        finally:
            self._queue.close()

    def latest(self, pod: Object) -> Object:
        """The pod with the status that we last asked for; other people's conditions as the server has them."""
        entry = self._entries.get(uid_of(pod))
        if entry is None:
            return pod
        stored = pod.get("status") or {}
        ours = (*podstatus.OWN_CONDITIONS, *podstatus.RESIZE_CONDITIONS)
        own = [c for c in entry.wanted["conditions"] if c["type"] in ours]
        others = [c for c in stored.get("conditions") or () if c["type"] not in ours]
        return {**pod, "status": {**stored, **entry.wanted, "conditions": own + others}}

    def submit(self, pod: Object, status: podstatus.Status) -> None:
        entry = self._entries.get(uid_of(pod))
        if entry is None:
            entry = self._entries[uid_of(pod)] = _Entry(pod, status)
        elif entry.pod is pod and entry.wanted == status:
            return
        entry.pod, entry.wanted = pod, status
        self._queue.add(uid_of(pod))

    def mirror_is(self, uid: str, mirror: Object) -> None:
        """Where the status of a static pod goes; it may be another one than before."""
        before = self._mirrors.get(uid)
        self._mirrors[uid] = mirror
        entry = self._entries.get(uid)
        if entry is not None and (before is None or uid_of(before) != uid_of(mirror)):
            entry.acknowledged = None
        self._queue.add(uid)

    async def delete_when_sent(self, pod: Object) -> None:
        entry = self._entries[uid_of(pod)]
        entry.is_doomed = True
        self._queue.add(uid_of(pod))

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)
        self._mirrors.pop(uid, None)

    async def _work(self) -> None:
        while True:
            async with self._queue.take() as uid:
                entry = self._entries.get(uid)
                if entry is None:
                    continue
                try:
                    await self._send(entry)
                except (NotFound, Conflict):
                    if not manifests.is_static(entry.pod):  # which gets another mirror
                        self._entries.pop(uid, None)  # the pod is gone, or a namesake has its place
                except (StatusError, Unreachable) as e:
                    entry.failures += 1
                    logger.info(
                        "Could not write pod status", extra={"pod": str(key_of(entry.pod)), "error": str(e)}
                    )
                    self._queue.add_after(uid, doubled(RETRY, entry.failures, 10.0))

    async def _send(self, entry: _Entry) -> None:
        pod, wanted = entry.pod, entry.wanted
        if manifests.is_static(pod):
            mirror = self._mirrors.get(uid_of(pod))
            if mirror is None:
                return
            pod = mirror
        key, uid = key_of(pod), uid_of(pod)
        base = entry.acknowledged
        if base is None or _version(pod) > entry.version:  # someone else may have written what is ours since
            base = pod.get("status") or {}
        patch = podstatus.changes(base, wanted)
        if patch:
            body = {"metadata": {"uid": uid}, "status": patch}
            written = await self._transport.patch(PODS, key, body, kind="strategic", subresource="status")
            entry.version = _version(written)
        entry.acknowledged = wanted
        entry.failures = 0
        if entry.is_doomed and entry.wanted is wanted:
            await self._transport.delete(PODS, key, uid=uid, grace_period=0)


def _version(pod: Object) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)

"""Makes room: the victims of a preemption are told why, and deleted; the pod is held until they are seen to go.

Upstream: pkg/scheduler/framework/preemption/preemption.go (prepareCandidateAsync).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from timonel.client.events import EventRecorder
from timonel.client.rest import Client
from timonel.client.transport import Unreachable
from timonel.machinery.errors import NotFound, StatusError
from timonel.objects.meta import Object
from timonel.scheduler.framework import Nomination
from timonel.scheduler.measures import Measures
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.profile import DEFAULT_NAME
from timonel.scheduler.queue import SchedulingQueue
from timonel.scheduler.telling import Statuses

logger = logging.getLogger(__name__)


def still_there(nomination: Nomination) -> list[PodInfo]:
    """Victims that nobody has begun to remove."""
    return [victim for victim in nomination.victims if not victim.deleting]


class Evictions:
    """`permitting` are the pods that wait for a permit, by uid: those are not bound yet, and merely give up."""

    def __init__(
        self,
        client: Client,
        statuses: Statuses,
        queue: SchedulingQueue,
        nodes: Nodes,
        recorder_of: Callable[[Object], EventRecorder],
        permitting: dict[str, asyncio.Task[None]],
        measures: Measures,
    ) -> None:
        self._measures = measures
        self._client, self._statuses, self._queue, self._nodes = client, statuses, queue, nodes
        self._recorder_of, self._permitting = recorder_of, permitting
        self._leaving: dict[
            str, set[str]
        ] = {}  # by the uid of a pod that preempts: victims not seen to go yet
        self._makes_room_for: dict[str, str] = {}  # by the uid of a victim

    async def make_room(self, info: PodInfo, nomination: Nomination) -> None:
        """Removes the victims, the last one once the others are on their way; meanwhile the pod is held."""
        victims, failed, since = still_there(nomination), False, self._measures.watch()
        leaving = self._leaving[info.uid] = {victim.uid for victim in victims}
        leaving.add("")  # until all of them were asked to go
        self._makes_room_for.update((victim.uid, info.uid) for victim in victims)
        try:
            await self._withdraw_lower(info, nomination.node)
            async with asyncio.TaskGroup() as group:
                for victim in victims[:-1]:
                    group.create_task(self._evict(info, victim, nomination.node))
            for victim in victims[-1:]:
                await self._evict(info, victim, nomination.node)
        except* (StatusError, Unreachable) as failures:
            failed = True
            logger.info(
                "Could not make room for a pod: %s", failures.exceptions[0], extra={"pod": str(info.key)}
            )
        finally:
            leaving.discard("")
            self._measures.evictions["error" if failed else "success"].add(self._measures.watch() - since)
            if failed or not leaving:
                self._room_is_made(info.uid, at_once=failed)

    def seen_to_go(self, uid: str) -> None:
        """A victim has been seen to go: what waits for the last one may try again."""
        preemptor = self._makes_room_for.pop(uid, None)
        leaving = self._leaving.get(preemptor) if preemptor is not None else None
        if preemptor is not None and leaving is not None:
            leaving.discard(uid)
            if not leaving:
                self._room_is_made(preemptor)

    def _room_is_made(self, uid: str, *, at_once: bool = False) -> None:
        for victim in self._leaving.pop(uid, ()):
            self._makes_room_for.pop(victim, None)
        self._queue.let_go(uid, at_once=at_once)

    async def _withdraw_lower(self, info: PodInfo, node: str) -> None:
        """Pods of lower priority nominated to the node will hardly fit there any more."""
        for other in list((self._nodes.nominations.get(node) or {}).values()):
            if other.priority < info.priority:
                self._nodes.withdraw(other.uid)
                self._queue.activate(other.uid)
                patch = {"metadata": {"uid": other.uid}, "status": {"nominatedNodeName": None}}
                try:
                    await self._client.patch("pods", other.key, patch, kind="strategic", subresource="status")
                except (StatusError, Unreachable) as failure:
                    logger.info("Could not withdraw a nomination: %s", failure)

    async def _evict(self, info: PodInfo, victim: PodInfo, node: str) -> None:
        waiting = self._permitting.pop(victim.uid, None)
        if waiting is not None:
            waiting.cancel()
            self.seen_to_go(victim.uid)
        else:
            try:
                await self._statuses.update(victim.pod, _disruption(info), None)
            except NotFound:
                self.seen_to_go(victim.uid)
                return
            if await self._client.delete("pods", victim.key, uid=victim.uid) is None:
                self.seen_to_go(victim.uid)
                return
        self._recorder_of(info.pod).record(
            victim.pod, "Normal", "Preempted", f"Preempted by pod {info.uid} on node {node}"
        )


def _disruption(info: PodInfo) -> dict[str, Any]:
    whose = info.spec.get("schedulerName") or DEFAULT_NAME
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{whose}: preempting to accommodate a higher priority pod",
    }

"""The scheduler as a service: informers feed the queue and the columns, decisions become bindings.

One pod is decided at a time, against columns that already count the pods decided before it (assumed pods); bindings go
out side by side. A binding that fails gives the place back.

Upstream: pkg/scheduler/{scheduler,eventhandlers,schedule_one}.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from timonel.aio.clock import Clock
from timonel.client.discovery import ResourceIndex
from timonel.client.events import EventRecorder
from timonel.client.informer import InformerFactory, Lister
from timonel.client.rest import Client
from timonel.client.transport import Transport, Unreachable
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Key, Object, format_time, is_deleting, labels_of
from timonel.scheduler import cycle
from timonel.scheduler.framework import Rejected, State
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.plugins.default_binder import DefaultBinder
from timonel.scheduler.plugins.volume_binding import CLAIMS, CLASSES, VOLUMES, VolumeBinding
from timonel.scheduler.podinfo import PodInfo, pod_info
from timonel.scheduler.profile import Profile, default_plugins
from timonel.scheduler.queue import Queued, SchedulingQueue

logger = logging.getLogger(__name__)

MOST_BINDINGS = 128  # on their way at the same time
FINISHED = ("Succeeded", "Failed")


class Scheduler:
    """A service. Reads through `informers` where they are given (somebody else runs them), else through its own."""

    def __init__(
        self,
        transport: Transport,
        *,
        index: ResourceIndex,
        clock: Clock,
        informers: InformerFactory | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.profile = profile or Profile(default_plugins())
        self.name = self.profile.scheduler_name
        self.nodes = Nodes()
        self.queue = SchedulingQueue(clock, self.profile.sort)
        self.recorder = EventRecorder(transport, clock, self.name)
        self._client, self._clock = Client(transport, index), clock
        self._owns_informers = informers is None
        self._informers = informers or InformerFactory(transport, clock, index)
        self._cache = Lister(
            self._informers, clock, ("pods", "nodes", "namespaces", CLAIMS, VOLUMES, CLASSES)
        )
        self._placed: dict[str, str] = {}  # uid -> node: what the columns count, assumed pods included
        self._bindings = asyncio.Semaphore(MOST_BINDINGS)
        for plugin in self.profile.plugins:
            if isinstance(plugin, VolumeBinding):
                plugin.writes = self
            elif isinstance(plugin, DefaultBinder):
                plugin.cluster = self

    async def run(self, ready: asyncio.Event) -> None:
        handlers: list[tuple[str, Callable[[Object | None, Object | None], None]]] = [
            ("nodes", self._node_changed),
            ("pods", self._pod_changed),
            (CLAIMS, lambda old, new: self.queue.moved("claim")),
            (VOLUMES, lambda old, new: self.queue.moved("volume")),
            (CLASSES, lambda old, new: self.queue.moved("class")),
        ]
        async with asyncio.TaskGroup() as group:
            if self._owns_informers:
                group.create_task(self._informers.run(asyncio.Event()), name=self._informers.name)
            group.create_task(self.recorder.run(asyncio.Event()), name=self.recorder.name)
            for informer in self._cache.informers.values():
                await informer.synced.wait()
            try:
                for resource, handler in handlers:
                    self._cache.informers[resource].add_handler(handler)
                ready.set()
                while True:
                    queued = await self.queue.pop()
                    await self._bindings.acquire()
                    self._schedule(queued, group)
                    await self._clock.sleep(0)  # others have their turn between two decisions
            finally:
                for resource, handler in handlers:
                    self._cache.informers[resource].remove_handler(handler)
                self.queue.close()

    # ---- what happens in the cluster

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self.nodes.remove(old["metadata"]["name"])
            return
        if old is not None and not _matters(old, new):
            return
        self.nodes.put(new)
        self.queue.moved("node-added" if old is None else "node-changed")

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        uid = pod["metadata"]["uid"]
        if new is None or (new.get("status") or {}).get("phase") in FINISHED:
            self.queue.remove(uid)
            node = self._placed.pop(uid, None)
            if node is not None:
                self.nodes.remove_pod(node, uid)
                self.queue.moved("pod-deleted")
            return
        node = new["spec"].get("nodeName")
        if node:
            self.queue.remove(uid)
            if self._placed.get(uid) != node or (old is not None and old["spec"] != new["spec"]):
                self._place(uid, node, pod_info(new))
                self.queue.moved("pod-added")
        elif new["spec"].get("schedulerName", self.name) == self.name and uid not in self._placed:
            self._waiting_pod_changed(old, new)

    def _waiting_pod_changed(self, old: Object | None, new: Object) -> None:
        uid = new["metadata"]["uid"]
        if is_deleting(new):
            self.queue.remove(uid)
        elif old is None or (uid in self.queue and _is_gated(old) != _is_gated(new)):
            self._enqueue(pod_info(new))
        elif uid in self.queue:
            self.queue.update(pod_info(new))
            if old["spec"] != new["spec"] or labels_of(old) != labels_of(new):
                self.queue.moved("pod-changed", uid)

    def _enqueue(self, info: PodInfo) -> None:
        if any(plugin.pre_enqueue(info.pod) is not None for plugin in self.profile.pre_enqueue):
            self.queue.gate(info)
        else:
            self.queue.add(info)

    def _place(self, uid: str, node: str, info: PodInfo) -> None:
        before = self._placed.get(uid)
        if before is not None and before != node:
            self.nodes.remove_pod(before, uid)
        self._placed[uid] = node
        self.nodes.add_pod(node, info)

    # ---- deciding

    def _schedule(self, queued: Queued, group: asyncio.TaskGroup) -> None:
        """Decide about one pod; what is left to do goes to a task, which gives the binding slot back."""
        state = State(queued.info, self.nodes, self._cache)
        try:
            row = cycle.choose(self.profile, state)
        except cycle.Unschedulable as exc:
            group.create_task(self._tell(self._put_back(queued, exc), exc))
            return
        except Exception as exc:  # the queue goes on
            logger.exception("Could not decide about a pod", extra={"pod": str(queued.info.key)})
            group.create_task(self._tell(self._put_back(queued, exc), exc))
            return
        node = self.nodes.name(row)
        for plugin in self.profile.reserve:
            plugin.reserve(state, row)
        self._place(queued.info.uid, node, queued.info)
        group.create_task(self._bind(queued, state, node))

    async def _bind(self, queued: Queued, state: State, node: str) -> None:
        info = queued.info
        try:
            for permit in self.profile.permit:
                await permit.permit(state, node)
            for pre_bind in self.profile.pre_bind:
                await pre_bind.pre_bind(state, node)
            await self.profile.bind[0].bind(state, node)
        except Exception as exc:  # of any plugin: the pod is tried again, and the next one is not held up
            self._forget(info, state)
            await self._tell(self._put_back(queued, exc), exc)
            return
        self._bindings.release()
        for post_bind in self.profile.post_bind:
            post_bind.post_bind(state, node)
        self.recorder.record(info.pod, "Normal", "Scheduled", f"Successfully assigned {info.key} to {node}")

    def _forget(self, info: PodInfo, state: State) -> None:
        for plugin in self.profile.reserve:
            plugin.unreserve(state)
        current = self._cache.get("pods", info.key)
        if current is None or current["metadata"]["uid"] != info.uid or not current["spec"].get("nodeName"):
            node = self._placed.pop(info.uid, None)
            if node is not None:
                self.nodes.remove_pod(node, info.uid)
                self.queue.moved("pod-deleted")

    def _put_back(self, queued: Queued, exc: Exception) -> Object | None:
        """Queue a pod that was not bound, at once, lest an event be missed; the pod as it is now, if it still waits."""
        info = queued.info
        current = self._cache.get("pods", info.key)
        if current is None or current["metadata"]["uid"] != info.uid:
            return None
        if is_deleting(current) or current["spec"].get("nodeName"):
            return None
        queued.info = pod_info(current)
        if isinstance(exc, cycle.Unschedulable):
            plugins = exc.diagnosis.plugins
            self.queue.set_aside(
                queued, self.profile.events_of(plugins) if plugins else frozenset({"node-added"})
            )
        else:
            self.queue.back_off(queued)
        return current

    async def _tell(self, pod: Object | None, exc: Exception) -> None:
        """Say in an Event and in the condition why a pod is not scheduled."""
        try:
            if pod is None:
                return
            expected = isinstance(exc, cycle.Unschedulable | Rejected)
            self.recorder.record(pod, "Warning", "FailedScheduling", str(exc))
            await self._update_condition(pod, "Unschedulable" if expected else "SchedulerError", str(exc))
        except (StatusError, Unreachable) as failure:
            logger.info("Could not tell why a pod is not scheduled: %s", failure)
        finally:
            self._bindings.release()

    async def _update_condition(self, pod: Object, reason: str, message: str) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or []
        known = next((c for c in conditions if c["type"] == "PodScheduled"), None)
        wanted = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        if known is not None and all(known.get(k) == v for k, v in wanted.items()):
            return
        since = known["lastTransitionTime"] if known and known["status"] == "False" else None
        condition = {
            **wanted,
            "lastProbeTime": None,
            "lastTransitionTime": since or format_time(self._clock.now()),
        }
        generation = pod["metadata"].get("generation")
        if generation:
            condition["observedGeneration"] = generation
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [condition]}}
        key = Key(pod["metadata"].get("namespace", ""), pod["metadata"]["name"])
        await self._client.patch("pods", key, patch, kind="strategic", subresource="status")

    # ---- what plugins act through

    async def bind(self, pod: Object, node: str) -> None:
        meta = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._client.create("pods", binding, name=meta["name"], subresource="binding")

    async def patch(self, resource: str, key: Key, patch: Mapping[str, Any]) -> Object:
        return await self._client.patch(resource, key, patch)

    async def until_changed(self, resource: str, key: Key) -> None:
        changed = asyncio.Event()

        def handler(old: Object | None, new: Object | None) -> None:
            obj = new or old
            if obj is not None and Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) == key:
                changed.set()

        informer = self._cache.informers[resource]
        before = informer.get(key)
        informer.add_handler(handler)  # replays what is there, which is no change
        if informer.get(key) is before:
            changed.clear()
        try:
            await changed.wait()
        finally:
            informer.remove_handler(handler)


def _matters(old: Object, new: Object) -> bool:
    """Whether a node changed in a way that scheduling looks at; heartbeats do not."""
    if old.get("spec") != new.get("spec") or labels_of(old) != labels_of(new):
        return True
    before, after = old.get("status") or {}, new.get("status") or {}
    return any(before.get(k) != after.get(k) for k in ("allocatable", "images"))


def _is_gated(pod: Object) -> bool:
    return bool(pod["spec"].get("schedulingGates"))

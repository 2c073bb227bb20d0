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

from timonel.aio.clock import Clock, stopwatch
from timonel.client.discovery import ResourceIndex
from timonel.client.informer import Informer, InformerFactory
from timonel.client.rest import Client
from timonel.client.transport import Transport, Unreachable
from timonel.machinery.errors import StatusError
from timonel.objects.meta import Key, Object, is_deleting, key_of, labels_of
from timonel.scheduler import cycle, extended, extendedresources
from timonel.scheduler.binding import Binding, expecting
from timonel.scheduler.configuration import Configuration
from timonel.scheduler.evictions import Evictions, still_there
from timonel.scheduler.extenders import Extender
from timonel.scheduler.failures import Failures
from timonel.scheduler.framework import (
    ActingPlugin,
    Nomination,
    PluginFailed,
    Rejected,
    State,
    Work,
)
from timonel.scheduler.measures import ERROR, SCHEDULED, UNSCHEDULABLE, Measures
from timonel.scheduler.memory import Memory
from timonel.scheduler.nodes import Nodes
from timonel.scheduler.podinfo import PodInfo, pod_info
from timonel.scheduler.profile import DEFAULT_NAME, Profile, default_plugins
from timonel.scheduler.queue import Queued, SchedulingQueue
from timonel.scheduler.telling import PatientRecorder, Statuses
from timonel.scheduler.watched import AFTER_NOTHING, EVENTS, SELECTING, WATCHED, Readings, label_of, served

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
        configuration: Configuration | None = None,
    ) -> None:
        settings = configuration or Configuration((Profile(default_plugins()),))
        self.profiles = {p.scheduler_name: p for p in settings.profiles}
        self.measures = Measures(stopwatch)
        self._failures = Failures()
        for profile in settings.profiles:
            profile.measures = self.measures
        self.extenders = [Extender(config, clock) for config in settings.extenders]
        self.name = next(iter(self.profiles))
        self.nodes = Nodes()
        self.queue = SchedulingQueue(
            clock,
            self.profiles[self.name].sort.rank,
            first_backoff=settings.first_backoff,
            longest_backoff=settings.longest_backoff,
            gated_by=self._gated_by,
        )
        self.measures.incoming = self.queue.incoming
        self._recorders = {
            name: PatientRecorder(transport, clock, name, busy=self._is_busy) for name in self.profiles
        }  # a profile tells things under its own name
        self._client, self._clock = Client(transport, index), clock
        self._owns_informers = informers is None
        self._informers = informers or InformerFactory(transport, clock, index)
        self._cache = Readings(self._informers, clock, served(index, WATCHED))
        self._memories = {n: Memory(p, self.nodes, self._cache) for n, p in self.profiles.items()}
        self._placed: dict[str, str] = {}  # uid -> node: what the columns count, assumed pods included
        self._assumed: set[str] = set()  # uids of pods whose binding has not been seen yet
        self._permitting: dict[str, asyncio.Task[None]] = {}
        self._statuses = Statuses(self._client, clock)
        self._evictions = Evictions(
            self._client,
            self._statuses,
            self.queue,
            self.nodes,
            self.recorder_of,
            self._permitting,
            self.measures,
        )
        self._binding = Binding(
            self.extenders, self._statuses, self.measures, self._permitting, self.in_background
        )
        self._bindings = asyncio.Semaphore(MOST_BINDINGS)
        self._under_way = 0
        self.is_running = False
        self._group: asyncio.TaskGroup | None = None  # of what goes on while this runs
        for profile in self.profiles.values():
            for plugin in profile.plugins:
                if isinstance(plugin, ActingPlugin):
                    plugin.attach(self)

    def _is_busy(self) -> bool:
        """Whether pods wait that could be tried, or bindings are on their way."""
        return self.queue.is_busy or self._under_way > 0

    @property
    def under_way(self) -> int:
        """Pods that are being decided about, told or bound."""
        return self._under_way

    def cached(self) -> dict[str, int]:
        """How many nodes and pods are counted with, and how many of those pods are not known to be bound."""
        return {"nodes": len(self.nodes), "pods": len(self._placed), "assumed_pods": len(self._assumed)}

    def informer(self, resource: str) -> Informer:
        """What the scheduler itself has seen."""
        return self._cache.informers[resource]

    async def run(self, ready: asyncio.Event) -> None:
        handlers: dict[str, Callable[[Object | None, Object | None], None]] = {
            "nodes": self._node_changed,
            "pods": self._pod_changed,
            "namespaces": self._namespace_changed,
            **{resource: self._tells_all(event) for resource, event in EVENTS.items()},
            **dict.fromkeys(SELECTING, self._selecting_changed),
            extendedresources.CLASSES: self._class_changed,
        }
        async with asyncio.TaskGroup() as group:
            self._group = group
            if self._owns_informers:
                group.create_task(self._informers.run(asyncio.Event()), name=self._informers.name)
            for recorder in self._recorders.values():
                group.create_task(recorder.run(asyncio.Event()), name=recorder.name)
            for informer in self._cache.informers.values():
                await informer.synced.wait()
            known = [(r, h) for r, h in handlers.items() if r in self._cache.informers]
            try:
                for resource, handler in known:
                    self._cache.informers[resource].add_handler(handler)
                self.is_running = True
                ready.set()
                while True:
                    queued = await self.queue.pop()
                    await self._bindings.acquire()
                    self._under_way += 1
                    await self._schedule(queued, group)
                    await self._clock.sleep(0)  # others have their turn between two decisions
            finally:
                self.is_running = False
                for resource, handler in known:
                    self._cache.informers[resource].remove_handler(handler)
                self.queue.close()

    # ---- what happens in the cluster

    def _tells_all(self, event: str) -> Callable[[Object | None, Object | None], None]:
        return lambda old, new: self._happened(event, old, new)

    def _happened(
        self, event: str, old: Object | None = None, new: Object | None = None, uid: str = ""
    ) -> None:
        """Moves on the pods that an event may help."""
        interested = {name: profile.interested_in(event) for name, profile in self.profiles.items()}

        def helps(queued: Queued) -> bool:
            plugins = interested[self.profile_of(queued.info)]
            if not queued.plugins:
                return event in AFTER_NOTHING
            if extended.EXTENDER in queued.plugins:
                return True
            return any(
                name in queued.plugins and may_help(queued.info, event, old, new)
                for name, may_help in plugins
            )

        names = {name for plugins in interested.values() for name, _ in plugins}
        self.queue.moved(helps, uid, label_of(event, old, new), names)

    def profile_of(self, info: PodInfo) -> str:
        return self._profile_named_by(info.pod)

    def _profile_named_by(self, pod: Object) -> str:
        found: str = pod["spec"].get("schedulerName") or DEFAULT_NAME
        return found if found in self.profiles else self.name

    def recorder_of(self, pod: Object) -> PatientRecorder:
        return self._recorders[self._profile_named_by(pod)]

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self.nodes.remove(old["metadata"]["name"])
            self._happened("node-deleted", old, None)
            return
        if old is not None and not _matters(old, new):
            return
        self.nodes.put(new)
        self._happened("node-added" if old is None else "node-changed", old, new)

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and labels_of(old) != labels_of(new):
            self.nodes.epoch += 1  # selectors of namespaces mean others now
            self._happened("pod-labels-changed")

    def _class_changed(self, old: Object | None, new: Object | None) -> None:
        """A class may stand for an extended resource, or no longer."""
        self.nodes.epoch += 1
        self._happened("device-class", old, new)

    def _selecting_changed(self, old: Object | None, new: Object | None) -> None:
        """Services and controllers say which pods are spread by default."""
        if old is None or new is None or old["spec"].get("selector") != new["spec"].get("selector"):
            self.nodes.epoch += 1

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        uid = pod["metadata"]["uid"]
        if new is None or (new.get("status") or {}).get("phase") in FINISHED:
            self._pod_gone(uid, pod)
            return
        node = new["spec"].get("nodeName")
        if node:
            self._bound_pod_changed(uid, node, old, new)
        elif self._is_ours(new) and uid not in self._placed:
            self._waiting_pod_changed(old, new)

    def _is_ours(self, pod: Object) -> bool:
        return (pod["spec"].get("schedulerName") or DEFAULT_NAME) in self.profiles

    def _pod_gone(self, uid: str, pod: Object) -> None:
        self.queue.remove(uid)
        self._assumed.discard(uid)
        was_nominated = uid in self.nodes.nominated
        self.nodes.withdraw(uid)
        node = self._placed.pop(uid, None)
        if node is not None:
            self.nodes.remove_pod(node, uid)
        if node is not None or was_nominated:
            self._happened("pod-deleted", pod, None)
        self._evictions.seen_to_go(uid)

    def _bound_pod_changed(self, uid: str, node: str, old: Object | None, new: Object) -> None:
        self.queue.remove(uid)
        self.nodes.withdraw(uid)
        if uid in self._assumed and self._placed.get(uid) == node:
            self._assumed.discard(uid)
            self._happened("pod-added", None, new)
            if old is not None and _looks_alike(old, new):
                return
        if old is not None and self._placed.get(uid) == node:
            if _looks_alike(old, new):
                return
            self._place(uid, node, pod_info(new))
            if is_deleting(new):
                self._evictions.seen_to_go(uid)
            if labels_of(old) != labels_of(new):
                self._happened("pod-labels-changed", old, new)
            elif old["spec"] != new["spec"]:
                self._happened("pod-deleted", old, new)  # it may ask for less now
            return
        self._place(uid, node, pod_info(new))
        self._happened("pod-added", None, new)

    def _waiting_pod_changed(self, old: Object | None, new: Object) -> None:
        uid = new["metadata"]["uid"]
        if is_deleting(new):
            if old is None or self.queue.will_try(uid):
                text = f"skip schedule deleting pod: {key_of(new)}"
                self.recorder_of(new).record(new, "Warning", "FailedScheduling", text)
            self.queue.remove(uid)
            self.nodes.withdraw(uid)
            return
        info = pod_info(new)
        nominated, before = _nominated(new), _nominated(old) if old is not None else ""
        if nominated and nominated != before:
            self.nodes.nominate(info, nominated)
        elif before and not nominated:
            self.nodes.withdraw(uid)
        if old is None:
            self.queue.add(info)
        elif uid in self.queue:
            self.queue.update(info)
            if (
                old["spec"] != new["spec"]
                or labels_of(old) != labels_of(new)
                or _claims_of(old) != _claims_of(new)
            ):
                self._happened("pod-changed", old, new, uid)

    def _gated_by(self, info: PodInfo) -> str:
        """The plugin that does not let a pod be tried yet."""
        profile = self.profiles[self.profile_of(info)]
        for plugin in profile.pre_enqueue:
            try:
                if plugin.pre_enqueue(info.pod) is not None:
                    return profile.name_of(plugin)
            except Exception as exc:  # of any plugin: as if it had refused
                self._failures.log("A plugin failed before a pod was queued", exc, info.key)
                return profile.name_of(plugin)
        return ""

    def _place(self, uid: str, node: str, info: PodInfo) -> None:
        before = self._placed.get(uid)
        if before is not None and before != node:
            self.nodes.remove_pod(before, uid)
        self._placed[uid] = node
        self.nodes.add_pod(node, info)

    # ---- deciding

    async def _schedule(self, queued: Queued, group: asyncio.TaskGroup) -> None:
        """Decide about one pod; what is left to do goes to a task, which gives the binding slot back."""
        name = self.profile_of(queued.info)
        profile = self.profiles[name]
        since = self.measures.watch()
        try:
            state, row = await self._choose(name, queued.info)
        except cycle.Unschedulable as exc:
            if exc.diagnosis.failure is not None:
                what = "A plugin failed to help a pod that no node will do for"
                self._failures.log(what, exc.diagnosis.failure, queued.info.key)
            self._not_scheduled(queued, exc, group, since)
            return
        except Exception as exc:  # the queue goes on
            self._failures.log("Could not decide about a pod", exc, queued.info.key)
            self._not_scheduled(queued, exc, group, since)
            return
        finally:
            self.measures.algorithm.add(self.measures.watch() - since)
        node = self.nodes.name(row)
        try:
            self._binding.reserve(profile, state, row)
        except Exception as exc:  # of any plugin
            self._log_failed_plugin(exc, queued.info)
            for plugin in reversed(profile.reserve):
                plugin.unreserve(state)
            self._not_scheduled(queued, exc, group, since)
            return
        self.nodes.withdraw(queued.info.uid)
        self._assumed.add(queued.info.uid)
        self._place(queued.info.uid, node, queued.info)
        group.create_task(self._bind(profile, queued, state, node, since))

    async def _choose(self, name: str, info: PodInfo) -> tuple[State, int]:
        extenders = [extender for extender in self.extenders if extender.is_interested(info)]
        if not extenders:
            return self._memories[name].choose(info)
        state = State(info, self.nodes, self._cache)
        return state, await extended.choose(self.profiles[name], state, extenders)

    def _not_scheduled(self, queued: Queued, exc: Exception, group: asyncio.TaskGroup, since: float) -> None:
        self._count_failure(queued, exc, since)
        nomination = exc.diagnosis.nomination if isinstance(exc, cycle.Unschedulable) else Nomination("")
        for work in exc.diagnosis.work if isinstance(exc, cycle.Unschedulable) else ():
            self.in_background(work)
        pod = self._put_back(queued, exc, nomination)
        group.create_task(self._tell(pod, exc, nomination))
        if pod is not None and nomination is not None and nomination.node:
            self.measures.preemptions += 1
            self.measures.victims.add(len(nomination.victims))
            group.create_task(self._evictions.make_room(queued.info, nomination))

    def _count_failure(self, queued: Queued, exc: Exception, since: float) -> None:
        result = UNSCHEDULABLE if isinstance(exc, cycle.Unschedulable | Rejected) else ERROR
        self.measures.attempt(result, self.profile_of(queued.info), since)

    async def _bind(self, profile: Profile, queued: Queued, state: State, node: str, since: float) -> None:
        info = queued.info
        try:
            await self._binding.carry_out(profile, state, node)
        except Exception as exc:  # of any plugin: the pod is tried again, and the next one is not held up
            self._log_failed_plugin(exc, info)
            self._count_failure(queued, exc, since)
            self._forget(profile, info, state)
            nowhere = Nomination("")
            pod = self._put_back(queued, exc, nowhere)
            await self._tell(expecting(pod, state), exc, nowhere)
            return
        self._released()
        self.measures.attempt(SCHEDULED, profile.scheduler_name, since)
        self.measures.bound(queued.attempts, self._clock.monotonic() - queued.tried_at)
        self.measures.after_flush += queued.was_flushed
        text = f"Successfully assigned {info.key} to {node}"
        self.recorder_of(info.pod).record(info.pod, "Normal", "Scheduled", text)
        self._binding.post_bind(profile, state, node)

    def _log_failed_plugin(self, exc: Exception, info: PodInfo) -> None:
        """What others refuse or cannot answer is told in Events and needs no traceback."""
        if isinstance(exc, PluginFailed) and not isinstance(exc.__cause__, StatusError | Unreachable):
            self._failures.log("A plugin failed at the node that was chosen", exc, info.key)

    def _released(self) -> None:
        self._under_way -= 1
        self._bindings.release()

    def _forget(self, profile: Profile, info: PodInfo, state: State) -> None:
        for plugin in reversed(profile.reserve):
            plugin.unreserve(state)
        current = self._cache.get("pods", info.key)
        if current is None or current["metadata"]["uid"] != info.uid or not current["spec"].get("nodeName"):
            self._assumed.discard(info.uid)
            node = self._placed.pop(info.uid, None)
            if node is not None:
                self.nodes.remove_pod(node, info.uid)
                self._happened("pod-deleted", info.pod, None)

    def _put_back(self, queued: Queued, exc: Exception, nomination: Nomination | None) -> Object | None:
        """Queue a pod that was not bound, at once, lest an event be missed; the pod as it is now, if it still waits."""
        info = queued.info
        current = self._cache.get("pods", info.key)
        if current is None or current["metadata"]["uid"] != info.uid:
            return None
        if is_deleting(current) or current["spec"].get("nodeName"):
            return None
        queued.info = pod_info(current)
        if nomination is not None:
            if nomination.node:
                self.nodes.nominate(queued.info, nomination.node)
            else:
                self.nodes.withdraw(info.uid)
        if isinstance(exc, cycle.Unschedulable):
            if nomination is not None and still_there(nomination):
                self.queue.hold(queued, exc.diagnosis.plugins)
            else:
                self.queue.set_aside(queued, exc.diagnosis.plugins)
        else:
            self.queue.back_off(queued)
        return current

    # ---- telling

    async def _tell(self, pod: Object | None, exc: Exception, nomination: Nomination | None) -> None:
        """Say in an Event and in the condition why a pod is not scheduled."""
        try:
            if pod is None:
                return
            expected = isinstance(exc, cycle.Unschedulable | Rejected)
            self.recorder_of(pod).record(pod, "Warning", "FailedScheduling", str(exc))
            reason = "Unschedulable" if expected else "SchedulerError"
            wanted = {"type": "PodScheduled", "status": "False", "reason": reason, "message": str(exc)}
            await self._statuses.update(pod, wanted, nomination)
        except (StatusError, Unreachable) as failure:
            logger.info("Could not tell why a pod is not scheduled: %s", failure)
        finally:
            self._released()

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

    async def create(self, resource: str, obj: Object) -> Object:
        return await self._client.create(resource, obj)

    async def delete(self, resource: str, key: Key) -> None:
        await self._client.delete(resource, key)

    def now(self) -> float:
        return self._clock.now()

    def record(self, pod: Object, kind: str, reason: str, message: str) -> None:
        self.recorder_of(pod).record(pod, kind, reason, message)

    def in_background(self, work: Work) -> None:
        assert self._group is not None
        self._group.create_task(self._do(work))

    async def _do(self, work: Work) -> None:
        try:
            await work()
        except (StatusError, Unreachable) as failure:
            logger.info("Could not do what a plugin wanted done: %s", failure)
        except Exception:  # of any plugin
            logger.exception("A plugin failed at its work")

    async def patch(
        self, resource: str, key: Key, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        return await self._client.patch(resource, key, patch, subresource=subresource)

    async def read(self, resource: str, key: Key) -> Object:
        return await self._client.get(resource, key)

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


def _claims_of(pod: Object) -> Any:
    """The names of the claims that were made for a pod."""
    status = pod.get("status") or {}
    return status.get("resourceClaimStatuses"), status.get("extendedResourceClaimStatus")


def _nominated(pod: Object) -> str:
    return (pod.get("status") or {}).get("nominatedNodeName") or ""


def _matters(old: Object, new: Object) -> bool:
    """Whether a node changed in a way that scheduling looks at; heartbeats do not."""
    if old.get("spec") != new.get("spec") or labels_of(old) != labels_of(new):
        return True
    before, after = old.get("status") or {}, new.get("status") or {}
    return any(before.get(k) != after.get(k) for k in ("allocatable", "images", "declaredFeatures"))


def _looks_alike(old: Object, new: Object) -> bool:
    """Whether a pod on its node changed in nothing that scheduling looks at."""
    if labels_of(old) != labels_of(new) or is_deleting(old) != is_deleting(new):
        return False
    if _started(old) != _started(new):
        return False
    return bool(
        old["spec"] == new["spec"] or {**old["spec"], "nodeName": new["spec"].get("nodeName")} == new["spec"]
    )


def _started(pod: Object) -> Any:
    return (pod.get("status") or {}).get("startTime")

"""One pod on this node, carried out: the shell around `podworker`, `podactions` and `podstatus`.

One task waits for something to happen to the pod (spec, runtime, probe, timer), asks the pure modules what follows, and
starts operations; it never waits for one. An operation (make the sandbox, start or kill one container) is a task of its
own, at most one per container, and wakes the pod when it is done. Statuses are sent one at a time; what changes
meanwhile goes with the next one.

Killing the agent ends these tasks and nothing else: containers are found again by their labels.
Upstream: pkg/kubelet/pod_workers.go, kubelet.go (SyncPod), kuberuntime_manager.go (SyncPod, killPodWithSyncResult).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Any, TypeVar

from timonel.aio.backoff import doubled
from timonel.aio.clock import Clock, Timer, wait_until
from timonel.client.events import EventRecorder
from timonel.node import backoff, podactions, podspec, podstatus, podworker
from timonel.node.backoff import Backoff
from timonel.node.cri.errors import RuntimeFailure
from timonel.node.cri.runtime import Container, ContainerState, Runtime
from timonel.node.environment import ConfigError
from timonel.node.hooks import HookFailed, Hooks
from timonel.node.images import ImageError
from timonel.node.measures import Measures, container_type
from timonel.node.podending import PodEnding
from timonel.node.podprobes import PodProbes
from timonel.node.podresize import PodResize
from timonel.node.podruntime import PodRuntime
from timonel.node.podsight import PodSight
from timonel.node.podspec import NodeFacts
from timonel.node.podworker import State, Verb
from timonel.node.preparation import Preparation
from timonel.node.probes import Prober
from timonel.node.references import containers_of
from timonel.node.relist import insist
from timonel.node.statuswriter import StatusWriter
from timonel.node.volumes.source import VolumeError
from timonel.objects.meta import Object, format_time, is_deleting, parse_time
from timonel.records import dataclass

logger = logging.getLogger(__name__)

RETRY = 1.0  # first delay after a failure that nothing else will wake us from
CONFIG_RETRY = 10.0
T = TypeVar("T")
RESIZE = ":resize"  # the operation's name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pods of a node share."""

    clock: Clock
    runtime: Runtime
    records: EventRecorder
    hooks: Hooks
    prober: Prober
    statuses: StatusWriter
    node: NodeFacts
    runtime_name: str
    exits: dict[str, None]  # ids that ended lately: news may come before its container is known here
    owners: dict[str, PodRunner]  # who a sandbox or container belongs to, by id
    measures: Measures = field(default_factory=Measures)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a pod is not to run here (any more): `reason` and `message` of its status. `disruption` is the message of
    its DisruptionTarget condition, where the node ends what was well; `grace` shortens the pod's own."""

    reason: str
    message: str
    disruption: str = ""
    grace: float | None = None


def _is_ahead(until: float, now: float) -> bool:
    """Whether to wait for it still. What lies further ahead than anyone waits is from before the clock was set back."""
    return now < until <= now + backoff.LIMIT


async def _outcome(call: Coroutine[Any, Any, T]) -> T | Exception:
    """A failure is an outcome: it is for whoever asked, if that is still somebody."""
    try:
        return await call
    except Exception as e:
        return e


class PodRunner:
    """`run` lives as long as the pod matters here: until its object is gone and nothing is left of it."""

    def __init__(
        self, pod: Object, runtime: PodRuntime, around: Surroundings, preparation: Preparation
    ) -> None:
        self._around = around
        self._clock = around.clock
        self.resize = PodResize(self, pod, around, preparation, is_new=not runtime.containers)
        self.pod = self.resize.effective(pod)  # with the resources that it was given
        self._preparation = preparation
        preparation.to_its_end = self._to_its_end
        self._worker = podworker.Worker()
        self._wake = asyncio.Event()
        self._wake.set()
        self._timer: Timer | None = None
        self._due = 0.0
        self._group: asyncio.TaskGroup | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._calls: set[asyncio.Task[Any]] = set()  # that go on when their operation is cancelled
        self._kill: asyncio.Task[None] | None = None
        self._references_new = asyncio.Event()
        self._refresh_again = False
        self._is_gone = False  # the API object was removed
        self._backoffs: dict[str, Backoff] = {}
        self._retry_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}  # of the sandbox and volumes, in a row
        self._waiting: dict[str, tuple[str, str]] = {}
        self._end: Ending | None = None
        self._seen_at: float | None = None if runtime.containers else around.measures.watch()
        self._start_time = (pod.get("status") or {}).get("startTime") or format_time(self._clock.now())
        self._probes = PodProbes(self, around)
        self.sight = PodSight(self, runtime, around, self._probes)
        self._ending = PodEnding(self, around, self._probes, preparation)

    # ---- what happens to it

    @property
    def uid(self) -> str:
        uid: str = self.pod["metadata"]["uid"]
        return uid

    @property
    def runtime(self) -> PodRuntime:
        """What is known of what the runtime has."""
        return self.sight.runtime

    @property
    def volume_paths(self) -> Mapping[str, str]:
        """Where the pod's volumes are on the node, by their names in its spec."""
        return self._preparation.volume_paths

    @property
    def busy(self) -> AbstractSet[str]:
        """Containers (or SANDBOX) with an operation under way."""
        return self._operations.keys()

    @property
    def is_syncing(self) -> bool:
        return self._worker.state is State.SYNCING

    @property
    def is_finished(self) -> bool:
        return self._worker.state is State.FINISHED

    @property
    def holds_resources(self) -> bool:
        """Whether the pod counts against what the node has to give."""
        return self._worker.state in (State.SYNCING, State.TERMINATING) and self._end is None

    def update(self, pod: Object) -> None:
        before, self.pod = self.pod, self.resize.effective(pod)
        if podspec.tells_differently(before, pod):
            for name, (reason, _) in self._waiting.items():
                if reason == "CreateContainerConfigError":
                    self._retry_at.pop(name, None)
            self._refresh()
        self._preparation.hold()
        self._wake.set()

    def removed(self, pod: Object) -> None:
        """The object is gone from the API server."""
        self.pod = self.resize.effective(pod)
        self._is_gone = True
        self._wake.set()

    def look_at(self, *ids: str) -> None:
        """The runtime may know something new about these containers or sandboxes."""
        self.sight.look_at(*ids)
        self._wake.set()

    def compare(self, listed: PodRuntime) -> None:
        """Look at whatever is not in the state that we believe it to be in, or not known here at all.

        Of a pod that is through nothing becomes but what a difference shows, and many such may be kept.
        """
        if self.sight.compare(listed) or not self.is_finished:
            self._wake.set()

    def end(self, ending: Ending) -> None:
        """The pod is not to run here (any more)."""
        if self._end is None:
            self._end = ending
            self._wake.set()

    def give(self) -> None:
        """The node can give what the pod's spec asks for now."""
        self.pod = self.resize.give()
        self._refresh()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def references_changed(self) -> None:
        """A ConfigMap or Secret of the pod is new: volumes follow, and containers that waited for it try again."""
        self._retry_at.clear()
        self._references_new.set()
        self._refresh()

    def look_at_claims(self) -> None:
        """Nobody tells the node that a claim is larger."""
        if self._preparation.may_grow:
            self._refresh()

    def _refresh(self) -> None:
        if self._group is None or not self.is_syncing:
            return
        if ":refresh" in self._operations:
            self._refresh_again = True
        else:
            self._spawn(":refresh", self._refresh_volumes())

    # ---- its life

    async def run(self) -> None:
        self.sight.own()
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._live()
            finally:
                self.sight.disown()
                if self._timer is not None:
                    self._timer.cancel()
            for task in self._operations.values():
                task.cancel()
            self._probes.close()

    async def _live(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.sight.look()
            await self._handle(self._next_event())
            if self.is_finished and self._is_gone:
                await insist(self._clock, lambda: self._preparation.remove(self.runtime))
                return

    def _next_event(self) -> podworker.Event:
        meta = self.pod["metadata"]
        if is_deleting(self.pod) or self._is_gone:
            grace = meta.get("deletionGracePeriodSeconds")
            if grace is None:
                grace = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
            return podworker.Stop(float(grace))
        if self.is_syncing:
            self._check_deadline()
            if self._end is not None or self._has_ended():
                grace = self._ending.grace
                if self._end is not None and self._end.grace is not None:
                    grace = min(grace, self._end.grace)
                return podworker.Stop(grace)
        return podworker.Changed()

    async def _handle(self, event: podworker.Event) -> None:
        self._worker, orders = podworker.step(self._worker, event)
        for order in orders:
            match order.verb:
                case Verb.SYNC:
                    self._sync()
                case Verb.KILL:
                    self._start_kill(order.grace)
                case Verb.TELL:
                    self.publish()
                case Verb.FREE:
                    await self._free()
                case Verb.REPORT:
                    await self._report()

    def _check_deadline(self) -> None:
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is None:
            return
        due = (parse_time(self._start_time) or 0) + limit
        if self._clock.now() >= due:
            message = "Pod was active on the node longer than the specified deadline"
            self._around.records.record(self.pod, "Normal", "DeadlineExceeded", message)
            self.end(Ending("DeadlineExceeded", message))
        else:
            self.wake_at(due)

    def _has_ended(self) -> bool:
        """All containers are through: the pod reached a final phase by itself."""
        if self._operations or not self._may_have_ended():
            return False
        return self.status()["phase"] in ("Succeeded", "Failed")

    def _may_have_ended(self) -> bool:
        """Cheap, and true wherever the full answer could be."""
        if (self.pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return True
        names = {c["name"] for c in self.pod["spec"]["containers"]}
        running = any(c.name in names and c.state is ContainerState.RUNNING for c in self.runtime.containers)
        return bool(self.runtime.containers) and not running

    # ---- sync

    def _sync(self) -> None:
        now = self._clock.now()
        self._restore()
        held_back = {name for name, until in self._retry_at.items() if _is_ahead(until, now)}
        view = podactions.View(
            now=now,
            busy=self._operations.keys() | held_back,
            started=self._probes.started,
            failed=self._probes.failed,
            backoffs=self._backoffs,
            attempts=self.sight.attempts,
        )
        actions = podactions.compute(self.pod, self.runtime, view)
        if actions.new_sandbox is not None and podactions.SANDBOX not in held_back:
            self._spawn(podactions.SANDBOX, self._make_sandbox(actions.new_sandbox))
        for kill in actions.kill:
            self._spawn(kill.name, self._kill_one(kill))
        for discard in actions.discard:
            self._spawn(discard.name, self._discard(discard))
        for name, delay in actions.waits.items():
            self._say_backoff(name, delay)
        for start in actions.start:
            if start.name not in self._operations:
                self._spawn(start.name, self._start(start))
        for until in (*(t for t in self._retry_at.values() if _is_ahead(t, now)), actions.wake_at):
            if until is not None:
                self.wake_at(until)
        self._renew_tokens(now)
        self._resize(held_back)
        self.publish()

    def _restore(self) -> None:
        """After a restart of the agent: what already runs is probed again, and volumes are looked after."""
        self.sight.probe_found()
        if self._preparation.needs_set_up and self.runtime.is_ready and ":volumes" not in self._operations:
            self._spawn(":volumes", self._make_volumes())

    def _resize(self, held_back: AbstractSet[str]) -> None:
        """Containers get what they were given; those that ask for it are restarted."""
        if not self.runtime.is_ready or RESIZE in self._operations or RESIZE in held_back:
            return
        if self.resize.is_due:
            self._spawn(RESIZE, self._carry_out_resize())
        for name, container in self.resize.restarts():
            message = f"Container {name} resize requires restart"
            self._spawn(name, self._kill_one(podactions.Kill(container.id, name, message)))

    async def _carry_out_resize(self) -> None:
        try:
            await self.resize.carry_out()
        except (RuntimeFailure, OSError) as e:
            logger.info("Could not resize the pod", extra={"pod": self.uid, "error": str(e)})
            self._hold_back(RESIZE)
        else:
            self._failures.pop(RESIZE, None)

    def _spec(self, name: str) -> Mapping[str, Any]:
        return next(c for c in containers_of(self.pod) if c["name"] == name)

    def _say_backoff(self, name: str, delay: float) -> None:
        meta = self.pod["metadata"]
        full = f"{meta['name']}_{meta['namespace']}({self.uid})"
        message = f"back-off {backoff.spoken(delay)} restarting failed container={name} pod={full}"
        if self._waiting.get(name) != ("CrashLoopBackOff", message):
            event = f"Back-off restarting failed container {name} in pod {full}"
            self._around.records.record(self.pod, "Warning", "BackOff", event, container=name)
        self._waiting[name] = ("CrashLoopBackOff", message)

    def _renew_tokens(self, now: float) -> None:
        due = self._preparation.renew_at
        if due is None or ":refresh" in self._operations:
            return
        if due <= now:
            self._spawn(":refresh", self._refresh_volumes())
        else:
            self.wake_at(due)

    def wake_at(self, when: float) -> None:
        """Wake at the latest then; the pod looks again at every wake, so one timer is enough."""
        if self._timer is not None:
            self._timer.cancel()
            when = min(when, self._due) if self._due > self._clock.now() else when
        self._due = when
        self._timer = self._clock.call_later(when - self._clock.now(), self._wake.set)

    # ---- operations

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        if name in self._operations:
            work.close()
            return

        async def operation() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except RuntimeFailure as e:
                logger.warning("Operation failed", extra={"pod": self.uid, "what": name, "error": e.message})
                self._retry_at[name] = self._clock.now() + RETRY
                await self.sight.take_stock(name)
            except Exception:
                logger.exception("Operation failed", extra={"pod": self.uid, "what": name})
                self._retry_at[name] = self._clock.now() + CONFIG_RETRY
                await self.sight.take_stock(name)

        def done(_: asyncio.Task[None]) -> None:  # also of one that was cancelled before it began
            work.close()
            self._operations.pop(name, None)
            self._wake.set()

        task = self._group.create_task(operation(), name=f"{self.uid} {name}")
        self._operations[name] = task
        task.add_done_callback(done)

    def spawn_background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that lives as long as the pod, unless it is cancelled before."""
        assert self._group is not None
        return self._group.create_task(work, name=f"{self.uid} {name}")

    async def _make_sandbox(self, attempt: int) -> None:
        old = self.runtime.sandbox
        if old is not None:
            message = "Pod sandbox changed, it will be killed and re-created."
            self._around.records.record(self.pod, "Normal", "SandboxChanged", message)
            await self._around.runtime.stop_sandbox(old.id)
            await self.sight.read_again()
        if self._preparation.needs_set_up:
            self._spawn(":volumes", self._make_volumes())
        try:
            sandbox = await self._preparation.make_sandbox(attempt)
        except (RuntimeFailure, ConfigError) as e:
            text = e.text if isinstance(e, RuntimeFailure) else str(e)
            message = f"Failed to create pod sandbox: {text}"
            self._around.records.record(self.pod, "Warning", "FailedCreatePodSandBox", message)
            self._hold_back(podactions.SANDBOX)
            self._around.measures.failed_pods += 1
            await self.sight.take_stock(podactions.SANDBOX)
            return
        self._failures.pop(podactions.SANDBOX, None)
        self._around.measures.started_pods += 1
        self.sight.runtime = self.runtime.with_sandbox(sandbox)
        self._around.owners[sandbox.id] = self

    async def _make_volumes(self) -> None:
        while True:
            try:
                await self._preparation.set_up_volumes()
                return
            except VolumeError as e:
                self._around.records.record(self.pod, "Warning", "FailedMount", str(e))
            failures = self._failures[":volumes"] = self._failures.get(":volumes", 0) + 1
            self._references_new.clear()
            await wait_until(self._clock, self._references_new, doubled(1.0, failures, 120.0))

    async def _refresh_volumes(self) -> None:
        """Again if something changed meanwhile: what was read may be older."""
        self._refresh_again = True
        while self._refresh_again:
            self._refresh_again = False
            try:
                await self._preparation.refresh_volumes()
            except VolumeError as e:
                self._around.records.record(self.pod, "Warning", "FailedMount", str(e))

    def _hold_back(self, name: str, seconds: float | None = None) -> None:
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        delay = doubled(RETRY, failures, 60.0) if seconds is None else seconds
        self._retry_at[name] = self._clock.now() + delay

    async def _start(self, start: podactions.Start) -> None:
        name = start.name
        spec = self._spec(name)
        latest = self.runtime.latest(name)
        if latest is not None and not podactions.is_same_spec(latest, spec):
            self._backoffs.pop(name, None)
        elif latest is not None and latest.state is ContainerState.EXITED:
            now = self._clock.now()
            self._backoffs[name] = backoff.advance(self._backoffs.get(name), latest.finished_at, now)
        records = self._around.records
        try:
            container_id = await self._create(spec, start.attempt)
        except (ImageError, ConfigError, VolumeError, RuntimeFailure) as e:
            self._could_not_start(name, e)
            if isinstance(e, RuntimeFailure):
                await self.sight.take_stock(name)
            return
        records.record(self.pod, "Normal", "Created", "Container created", container=name)
        sandbox = self.runtime.sandbox
        assert sandbox is not None
        try:
            await self._to_its_end(self._around.runtime.start_container(container_id))
        except RuntimeFailure as e:
            self._waiting[name] = ("RunContainerError", e.message)
            records.record(self.pod, "Warning", "Failed", f"Error: {e.message}", container=name)
            await self.sight.take_stock(name)
            found = self.runtime.find(container_id)
            if found is None or found.state is ContainerState.CREATED:
                self._hold_back(name)  # one that ended has its back-off
            return
        records.record(self.pod, "Normal", "Started", "Container started", container=name)
        self._around.measures.started_containers[container_type(self.pod, name)] += 1
        container = await self._around.runtime.container_status(container_id)
        self.resize.started(name, spec.get("resources") or {})
        self._waiting.pop(name, None)
        self._retry_at.pop(name, None)
        self._failures.pop(name, None)
        self.sight.remember(container, sandbox.id)
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if container.state is ContainerState.RUNNING:
            if hook is None:
                self._probes.begin(container, spec)
            self.publish()
            if hook is not None:
                await self._post_start(hook, spec, container)
        await self._forget_old_lives()

    async def _forget_old_lives(self) -> None:
        """Of each container the last dead one is kept, for its state and its log."""
        old_containers, old_sandboxes = podactions.old_lives(self.runtime)
        for container in old_containers:
            await self._around.runtime.remove_container(container.id)
            await self._preparation.remove_log(container)
        for sandbox in old_sandboxes:
            await self._around.runtime.remove_sandbox(sandbox.id)
        self.sight.forget(*(c.id for c in old_containers), *(s.id for s in old_sandboxes))

    async def _create(self, spec: Mapping[str, Any], attempt: int) -> str:
        image = await self._preparation.image_for(spec)
        sandbox = self.runtime.sandbox
        if sandbox is None:
            raise RuntimeFailure("the sandbox is gone")
        target = self._target(spec)
        return await self._preparation.create_container(sandbox, spec, attempt, image, target)

    async def _to_its_end(self, call: Coroutine[Any, Any, T]) -> T:
        """A call that must not break off in the middle, since the runtime would lose sight of what it has begun: when
        the operation is cancelled it goes on, and whoever ends the pod waits for it."""
        assert self._group is not None
        task = self._group.create_task(_outcome(call), name=f"{self.uid} call of the runtime")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        outcome = await asyncio.shield(task)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _target(self, spec: Mapping[str, Any]) -> str:
        """The id of the container that an ephemeral one looks into, if it names one."""
        name = spec.get("targetContainerName")
        if not name:
            return ""
        found = self.runtime.latest(name)
        if found is None or found.state is not ContainerState.RUNNING:
            raise ConfigError(f"unable to find target container {name}")
        return found.id

    def _could_not_start(self, name: str, e: Exception) -> None:
        if isinstance(e, ImageError):
            reason, message = e.reason, e.message
            self._retry_at[name] = e.retry_at or self._clock.now() + RETRY
            text = f"Error: {reason}"
        elif isinstance(e, ConfigError | VolumeError):
            reason, message = "CreateContainerConfigError", str(e)
            self._retry_at[name] = self._clock.now() + CONFIG_RETRY
            text = f"Error: {message}"
        else:
            assert isinstance(e, RuntimeFailure)
            reason, message = "CreateContainerError", e.message
            self._hold_back(name)
            text = f"Error: {message}"
        self._waiting[name] = (reason, message)
        self._around.measures.failed_containers[container_type(self.pod, name), reason] += 1
        self._around.records.record(self.pod, "Warning", "Failed", text, container=name)

    async def _post_start(
        self, hook: Mapping[str, Any], spec: Mapping[str, Any], container: Container
    ) -> None:
        try:
            await self._around.hooks.run(hook, spec, container.id, self.ip())
        except HookFailed as e:
            records = self._around.records
            records.record(
                self.pod, "Warning", "FailedPostStartHook", "PostStartHook failed", container=spec["name"]
            )
            logger.info("postStart hook failed", extra={"pod": self.uid, "error": str(e)})
            await self._ending.stop(container, spec, "FailedPostStartHook")
            return
        self._probes.begin(container, spec)

    def ip(self) -> str:
        """Where probes and hooks find the pod."""
        sandbox = self.runtime.sandbox
        return sandbox.ips[0] if sandbox is not None and sandbox.ips else self._around.node.ip

    # ---- killing

    async def _kill_one(self, kill: podactions.Kill) -> None:
        container = self.runtime.find(kill.container_id)
        if container is None:
            return
        spec = self._spec(kill.name)
        probe = spec.get(f"{kill.probe}Probe") or {}
        grace = float(probe.get("terminationGracePeriodSeconds") or self._ending.grace)
        await self._ending.stop(container, spec, kill.message, grace=grace)

    async def _discard(self, discard: podactions.Discard) -> None:
        logger.info(
            "Removing a container that was never started", extra={"pod": self.uid, "what": discard.name}
        )
        await self._around.runtime.remove_container(discard.container_id)
        self.sight.forget(discard.container_id)

    def _start_kill(self, grace: float) -> None:
        assert self._group is not None
        if self._kill is not None:
            self._kill.cancel()
        for task in self._operations.values():
            task.cancel()
        self._probes.spare()
        self._kill = self._group.create_task(self._kill_pod(grace), name=f"{self.uid} kill")

    async def _kill_pod(self, grace: float) -> None:
        if self._calls:
            await asyncio.wait(self._calls)
        await self._ending.stop_all(grace)
        self._probes.close()
        self._worker, orders = podworker.step(self._worker, podworker.ContainersGone())
        for order in orders:
            if order.verb is Verb.FREE:
                await self._free()

    async def _free(self) -> None:
        await self._preparation.free()
        self._worker, orders = podworker.step(self._worker, podworker.ResourcesFreed())
        for order in orders:
            if order.verb is Verb.REPORT:
                await self._report()
        self._wake.set()

    async def _report(self) -> None:
        """The last status; then the object goes, if it was being deleted."""
        if self._is_gone:
            return
        self.publish()
        if is_deleting(self.pod):
            await self._around.statuses.delete_when_sent(self.pod)

    # ---- status

    def status(self) -> podstatus.Status:
        is_stopped = self._worker.state in (State.TERMINATED, State.FINISHED)
        facts = podstatus.Facts(
            now=self._clock.now(),
            host_ip=self._around.node.ip,
            start_time=self._start_time,
            ready=self._probes.ready,
            started=self._probes.started,
            waiting=self._waiting,
            failure=(self._end.reason, self._end.message) if self._end is not None else None,
            disruption=self._end.disruption if self._end is not None else "",
            in_force=self.resize.in_force,
            resize=self.resize.conditions(),
            is_ending=self._worker.state is State.TERMINATING,
            is_stopped=is_stopped,
            runtime_name=self._around.runtime_name,
        )
        return podstatus.build(self._around.statuses.latest(self.pod), self.runtime, facts)

    def publish(self) -> None:
        if self._is_gone:
            return
        status = self.status()
        if self._seen_at is not None and status["phase"] == "Running":
            self._around.measures.starts.add(self._around.measures.watch() - self._seen_at)
            self._seen_at = None
        self._around.statuses.submit(self.pod, status)

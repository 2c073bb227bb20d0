"""The shell every controller shares: watch → queue → observe → reconcile → apply → status → requeue.

It knows no kind. A key whose own last writes the cache has not seen yet waits until it has, so that a controller never
acts on a picture older than its deeds; not even where the answer to a write was lost. Nothing polls: between changes a
controller only waits.

Upstream: pkg/controller/controller_utils.go, pkg/controller/util/consistency.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from timonel.aio.clock import Clock
from timonel.client.discovery import ResourceIndex, ResourceInfo
from timonel.client.events import EventRecorder
from timonel.client.informer import Handler, Informer, InformerFactory, Lister
from timonel.client.rest import Client
from timonel.client.transport import Transport, Unreachable
from timonel.control.actions import Create, Outcome, Plan
from timonel.control.asking import Inquirer
from timonel.control.declare import AnyControllerType, Watch
from timonel.control.executors import Authority, Executor
from timonel.control.others import NEEDED_VERBS, Others
from timonel.control.workers import Workers
from timonel.machinery.errors import AlreadyExists, Conflict, NotFound
from timonel.objects.meta import Key, Object, key_of, uid_of

WORTH_A_REST = 0.001  # seconds; deciding about most objects is quicker
# Nobody counts them, owns by them or waits for their end, and there are more of them than of anything else. Upstream:
# pkg/quota/v1/install/registry.go (DefaultIgnoredResources)
UNFOLLOWED = frozenset({"events", "events.events.k8s.io"})
REST = 10.0  # times as long as a pass took to think, its key rests, so that a flood of events costs a tenth of the time
LONGEST_REST = 1.0


class Controller:
    """Runs one ControllerType against a cluster."""

    def __init__(
        self,
        what: AnyControllerType,
        *,
        transport: Transport,
        informers: InformerFactory,
        index: ResourceIndex,
        clock: Clock,
        authority: Authority | None = None,
    ) -> None:
        self._authority = authority
        self.what, self.name = what, what.name
        self.resource = what.watches[0].resource
        self._workers = Workers(
            self.name,
            self.sync,
            clock,
            passing=(AlreadyExists, Conflict, NotFound),
            lane_of=lambda key: key.namespace,
            longest=what.longest_backoff,
        )
        self.queue = self._workers.queue
        self.recorder = EventRecorder(transport, clock, what.component or what.name)
        self._client = Client(transport, index)
        self._cache = Lister(informers, clock, dict.fromkeys(w.resource for w in what.watches))
        self._index, self._clock = index, clock
        self._inquirer = Inquirer(what.inquiry, self._client, index) if what.inquiry is not None else None
        self._memories: dict[Key, tuple[str, Any]] = {}  # with the uid of whom they are about
        self._others = Others(index, informers, self._is_other, self._came, self._went)
        self._resting: dict[Key, float] = {}  # until when
        self._written: dict[Key, dict[str, str]] = {}  # the newest version that a pass wrote, by resource
        self._unsure: dict[Key, str] = {}  # of what a pass may have made something: it was never told

    async def run(self, ready: asyncio.Event) -> None:
        for informer in self._cache.informers.values():
            await informer.synced.wait()
        handlers = [(self._cache.informers[w.resource], self._handler(w)) for w in self.what.watches]
        try:
            for informer, handler in handlers:
                informer.add_handler(handler)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.recorder.run(asyncio.Event()), name=self.recorder.name)
                if self.what.others is not None:
                    await self._others.adapt()
                    group.create_task(self._others.follow(), name=f"{self.name} resources")
                self._workers.start(group, self.what.workers)
                ready.set()
        finally:
            for informer, handler in handlers:
                informer.remove_handler(handler)
            self._others.close()
            self.queue.close()

    def _is_other(self, info: ResourceInfo) -> bool:
        named = {w.resource for w in self.what.watches}
        return (
            info.resource.namespaced
            and str(info.resource) not in named | UNFOLLOWED
            and set(info.verbs) >= NEEDED_VERBS
        )

    def _came(self, resource: str, informer: Informer) -> Handler:
        assert self.what.others is not None
        self._cache.informers[resource] = informer
        if self.what.counts_others:
            for obj in self._cache.list(self.resource):
                self._wake(key_of(obj))
        return self._handler(self.what.others(resource))

    def _went(self, resource: str, informer: Informer) -> None:
        del self._cache.informers[resource]

    def _handler(self, watch: Watch) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is not None and new is not None and watch.matters and not watch.matters(old, new):
                return
            for obj in (old, new):
                if obj is not None:
                    for key in watch.wakes(obj, self._cache):
                        if watch.delay:
                            self.queue.add_after(key, watch.delay)
                        else:
                            self._wake(key)

        return changed

    def _wake(self, key: Key) -> None:
        until = self._resting.get(key)
        left = until - self._clock.monotonic() if until is not None else 0.0
        if left > 0:
            self.queue.add_after(key, left)
        else:
            self._resting.pop(key, None)
            self.queue.add(key)

    def _rest(self, key: Key, spent: float) -> None:
        """Let events for a large object gather for a while: one pass answers them all."""
        if spent > WORTH_A_REST:
            self._resting[key] = self._clock.monotonic() + min(REST * spent, LONGEST_REST)

    async def sync(self, key: Key) -> float | None:
        """One pass; the result is when to look again, if not only on the next change."""
        if key in self._unsure:
            await self._find_out(key)
        if self._awaits_own_writes(key):
            return None
        desired = self._cache.get(self.resource, key)
        if desired is None:
            self._resting.pop(key, None)
            self._memories.pop(key, None)
            plan = self.what.absent(key, self._cache) if self.what.absent is not None else Plan()
            outcome = await self._apply(key, None, plan)
        else:
            started = self._clock.monotonic()
            observed = self.what.observe(desired, self._cache)
            if self.what.memory is not None:
                uid, memory = self._memories.get(key, ("", None))
                observed = self.what.memory.recall(observed, memory) if uid == uid_of(desired) else observed
            if self._inquirer is not None:
                observed = await self._inquirer.complete(desired, observed)
                started = self._clock.monotonic()
            plan = self.what.reconcile(desired, observed)
            spent = self._clock.monotonic() - started
            self._rest(key, spent)
            outcome = await self._apply(key, desired, plan)
            if self.what.memory is not None:
                left = self.what.memory.remember(desired, observed, outcome)
                if left is None:
                    self._memories.pop(key, None)
                else:
                    self._memories[key] = uid_of(desired), left
            if self.what.status is not None:
                started = self._clock.monotonic()
                status = self.what.status(desired, observed, outcome)
                self._rest(key, spent + self._clock.monotonic() - started)
                await self._update_status(key, desired, status)
        if outcome.error is not None:
            raise outcome.error
        return plan.requeue_after

    async def _apply(self, key: Key, owner: Object | None, plan: Plan) -> Outcome:
        if not plan.actions:
            return Outcome(plan)
        written = self._written.setdefault(key, {})
        executor = Executor(
            self._client,
            self._index,
            self.recorder,
            lambda resource, obj: self._note(written, resource, obj),
            self._authority,
            self._clock.now,
        )
        outcome = await executor.apply(owner, plan)
        self._follow_creates(key, outcome)
        return outcome

    async def _update_status(self, key: Key, desired: Object, status: dict[str, Any] | None) -> None:
        if status is None or status == desired.get("status", {}):
            return
        try:
            answer = await self._client.update(
                self.resource, {**desired, "status": status}, subresource="status"
            )
        except NotFound:
            return
        self._note(self._written.setdefault(key, {}), self.resource, answer)

    # ---- consistency with own writes

    def _note(self, written: dict[str, str], resource: str, answer: Object) -> None:
        version = answer.get("metadata", {}).get("resourceVersion")
        if version and resource in self._cache.informers:
            known = written.get(resource, "")
            written[resource] = max(known, version, key=lambda v: (len(v), v))

    def _follow_creates(self, key: Key, outcome: Outcome) -> None:
        """Look again when the cache has them: what is gone before the cache has shown it wakes nobody."""
        made: dict[str, str] = {}
        for at, answer in outcome.results.items():
            action = outcome.plan.actions[at]
            if isinstance(action, Create) and answer is not None:
                self._note(made, action.resource, answer)
        for resource, version in made.items():
            self._cache.informers[resource].when_caught_up(version, lambda: self._wake(key))
        lost = isinstance(outcome.error, Unreachable) and outcome.failed
        if isinstance(lost, Create) and lost.resource in self._cache.informers:
            self._unsure[key] = lost.resource

    async def _find_out(self, key: Key) -> None:
        """The cache must have seen at least what there is now of the resource, before it says what is missing."""
        resource = self._unsure[key]
        there = await self._client.list(resource, key.namespace)
        del self._unsure[key]
        for obj in there.items:
            self._note(self._written.setdefault(key, {}), resource, obj)

    def _awaits_own_writes(self, key: Key) -> bool:
        """Whether the cache lacks what the last pass wrote; the key is queued again once it has it."""
        for resource, version in self._written.get(key, {}).items():
            informer = self._cache.informers[resource]
            if not informer.caught_up(version):
                informer.when_caught_up(version, lambda: self.queue.add(key))
                return True
        self._written.pop(key, None)
        return False

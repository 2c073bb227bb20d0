"""Which pod is scheduled next: active, backing off, or set aside until something changes that may help it.

A pod that failed is set aside with the plugins that refused it. An event that one of them waits for moves it on: to
those that back off (1 s, doubled up to 10 s), of which the first may go on at once while no pod is active. After an
error, back-off is waited out. A pod that nothing moves is tried again after five minutes.

Upstream: pkg/scheduler/backend/queue/scheduling_queue.go, backoff_queue.go.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

from timonel.aio.clock import Clock, Timer
from timonel.records import dataclass
from timonel.scheduler.measures import Counters
from timonel.scheduler.podinfo import PodInfo

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0
SET_ASIDE_AT_MOST = 300.0

# What moves a pod besides events of the cluster.
ADDED, FAILED = "UnscheduledPodAdd", "ScheduleAttemptFailure"
BACKED_OFF, POPPED, FORCED, FLUSHED = (
    "BackoffComplete", "PopFromBackoffQ", "ForceActivate", "UnschedulableTimeout",
)  # fmt: skip
CHANGED = "UnscheduledPodUpdate"
VICTIM_GONE = "AssignedPodDelete"
PARTS = {"erring": "backoff", "aside": "unschedulable", "held": "unschedulable"}

Rank = Callable[[PodInfo, float], Any]
Helps = Callable[["Queued"], bool]


@dataclass(slots=True)
class Queued:
    info: PodInfo
    since: float
    attempts: int = 0
    refusals: int = 0  # attempts of those that found no node
    failures: int = 0  # errors in a row
    tried_at: float = 0.0  # for the first time
    was_flushed: bool = False  # nothing but time has moved it since it was last refused
    failed_at: float = 0.0
    plugins: frozenset[str] = frozenset()  # that refused it; empty: anything may help
    state: str = "active"  # active, backoff, erring, aside, gated, held
    was_moved: bool = False  # while it was held
    turn: int = 0  # entries of heaps from former turns no longer count
    timer: Timer | None = field(default=None, repr=False)


class SchedulingQueue:
    def __init__(
        self,
        clock: Clock,
        rank: Rank,
        *,
        first_backoff: float = FIRST_BACKOFF,
        longest_backoff: float = LONGEST_BACKOFF,
        gated_by: Callable[[PodInfo], str] = lambda info: "",
    ) -> None:
        """`gated_by` names the plugin that does not let a pod be tried yet; empty where none does."""
        self._gated_by = gated_by
        self._gated: dict[str, dict[str, Queued]] = {}  # by that plugin, by uid
        self._clock, self._rank = clock, rank
        self._first, self._longest = first_backoff, longest_backoff
        self.incoming = Counters()  # by part and by what moved a pod there
        self._pods: dict[str, Queued] = {}  # by uid: all that wait
        self._aside: dict[str, Queued] = {}
        self._held: dict[str, Queued] = {}
        self._active: list[tuple[Any, int, int, Queued]] = []
        self._backing_off: list[tuple[float, int, int, Queued]] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    @property
    def is_busy(self) -> bool:
        """Whether pods wait that could be tried now."""
        return bool(self._active or self._backing_off)

    def counts(self) -> dict[str, int]:
        """How many pods wait in each part, by upstream's names."""
        found = {"active": 0, "backoff": 0, "unschedulable": 0, "gated": 0}
        for queued in self._pods.values():
            found[PARTS.get(queued.state, queued.state)] += 1
        return found

    def refused(self) -> Iterator[Queued]:
        """Those that no node was found for, wherever they wait."""
        return (queued for queued in self._pods.values() if queued.plugins)

    def will_try(self, uid: str) -> bool:
        """Whether a pod is tried without anything else happening first."""
        queued = self._pods.get(uid)
        return queued is not None and queued.state in ("active", "backoff", "erring")

    # ---- pods come, change and go

    def add(self, info: PodInfo) -> None:
        self._activate(Queued(info, self._clock.now()), ADDED)

    def update(self, info: PodInfo) -> None:
        """The pod changed while it waits; what it asks for may have changed with it, and what keeps it out."""
        queued = self._pods.get(info.uid)
        if queued is not None:
            queued.info = info
            if queued.state == "gated" and self._gated_by(info) not in queued.plugins:
                self._activate(queued, CHANGED)

    def remove(self, uid: str) -> None:
        self._forget(uid)

    def _forget(self, uid: str) -> None:
        queued = self._pods.pop(uid, None)
        if queued is not None:
            self._leave(queued)
            queued.state = "gone"

    # ---- pods are tried

    async def pop(self) -> Queued:
        """The next pod; its caller schedules it, or puts it back with `set_aside`, `hold` or `back_off`."""
        while True:
            queued = self._next()
            if queued is not None:
                del self._pods[queued.info.uid]
                if not queued.attempts:
                    queued.tried_at = self._clock.monotonic()
                queued.attempts += 1
                return queued
            self._wake.clear()
            await self._wake.wait()

    def _next(self) -> Queued | None:
        for heap, state in ((self._active, "active"), (self._backing_off, "backoff")):
            while heap:
                _, _, turn, queued = heapq.heappop(heap)
                if (
                    queued.state == state
                    and queued.turn == turn
                    and self._pods.get(queued.info.uid) is queued
                ):
                    self._leave(queued)
                    if state == "backoff":
                        self.incoming["active", POPPED] += 1
                    return queued
        return None

    def set_aside(self, queued: Queued, plugins: Iterable[str]) -> None:
        """No node will do."""
        self._refuse(queued, plugins)
        self._lay_aside(queued, "aside")
        self._aside[queued.info.uid] = queued

    def hold(self, queued: Queued, plugins: Iterable[str]) -> None:
        """As `set_aside`, but whatever happens counts only once it is let go."""
        self._refuse(queued, plugins)
        self._lay_aside(queued, "held")
        queued.was_moved = False
        self._held[queued.info.uid] = queued

    def let_go(self, uid: str, *, at_once: bool = False) -> None:
        queued = self._pods.get(uid)
        if queued is None or queued.state != "held":
            return
        self._lay_aside(queued, "aside")
        self._aside[uid] = queued
        if at_once:
            self._activate(queued, FORCED)
        elif queued.was_moved:
            self._wait_out(queued, VICTIM_GONE)

    def _refuse(self, queued: Queued, plugins: Iterable[str]) -> None:
        queued.plugins, queued.failed_at = frozenset(plugins), self._clock.monotonic()
        queued.refusals += 1
        queued.failures = 0
        queued.was_flushed = False
        self.incoming["unschedulable", FAILED] += 1

    def _lay_aside(self, queued: Queued, state: str) -> None:
        self._leave(queued)
        queued.state = state
        self._pods[queued.info.uid] = queued
        left = queued.failed_at + SET_ASIDE_AT_MOST - self._clock.monotonic()
        queued.timer = self._clock.call_later(left, lambda: self._flush(queued))

    def _flush(self, queued: Queued) -> None:
        queued.was_flushed = True
        self._activate(queued, FLUSHED)

    def back_off(self, queued: Queued) -> None:
        """After an error that has nothing to do with the pod."""
        queued.failed_at = self._clock.monotonic()
        queued.failures += 1
        self._leave(queued)
        self._pods[queued.info.uid] = queued
        queued.state = "erring"
        self.incoming["backoff", FAILED] += 1
        queued.timer = self._clock.call_later(
            self._backoff(queued.failures), lambda: self._activate(queued, BACKED_OFF)
        )

    # ---- something happens in the cluster

    def moved(self, helps: Helps, uid: str = "", event: str = "", interested: Iterable[str] = ()) -> None:
        """An event; `helps` says whether it may help a pod. `uid` where it concerns one pod alone.

        Of the pods that are not let in yet, it is for those that the plugins keep out that are `interested`.
        """
        if self._gated and not uid:
            for plugin in interested:
                for kept_out in list(self._gated.get(plugin, {}).values()):
                    if helps(kept_out):
                        self._activate(kept_out, event)
        if uid:
            queued = self._pods.get(uid)
            concerned = [queued] if queued is not None else []
        else:
            concerned = [*self._held.values(), *self._aside.values()]
        for queued in concerned:
            if queued.state in ("aside", "held") and helps(queued):
                if queued.state == "held":
                    queued.was_moved = True
                else:
                    self._wait_out(queued, event)

    def activate(self, uid: str) -> None:
        queued = self._pods.get(uid)
        if queued is not None and queued.state in ("aside", "backoff", "erring", "held"):
            self._activate(queued, FORCED)

    def close(self) -> None:
        for queued in self._pods.values():
            self._leave(queued)

    def _backoff(self, attempts: int) -> float:
        return float(min(self._first * 2.0 ** min(attempts - 1, 32), self._longest)) if attempts else 0.0

    def _wait_out(self, queued: Queued, event: str) -> None:
        self._leave(queued)
        until = queued.failed_at + self._backoff(queued.refusals)
        left = until - self._clock.monotonic()
        if left <= 0:
            self._activate(queued, event)
            return
        queued.state = "backoff"
        queued.turn += 1
        self.incoming["backoff", event] += 1
        queued.timer = self._clock.call_later(left, lambda: self._activate(queued, BACKED_OFF))
        heapq.heappush(self._backing_off, (until, next(self._numbers), queued.turn, queued))
        self._wake.set()

    def _activate(self, queued: Queued, event: str) -> None:
        self._leave(queued)
        gated_by = self._gated_by(queued.info)
        if gated_by:
            self._gate(queued, gated_by, event)
            return
        self.incoming["active", event] += 1
        queued.state = "active"
        queued.turn += 1
        self._pods[queued.info.uid] = queued
        rank = self._rank(queued.info, queued.since)
        heapq.heappush(self._active, (rank, next(self._numbers), queued.turn, queued))
        self._wake.set()

    def _gate(self, queued: Queued, plugin: str, event: str) -> None:
        """Keep it, and do not look at it."""
        if queued.state != "gated":
            self.incoming["unschedulable", event] += 1
        queued.state, queued.plugins = "gated", frozenset({plugin})
        queued.turn += 1
        self._pods[queued.info.uid] = queued
        self._gated.setdefault(plugin, {})[queued.info.uid] = queued

    def _leave(self, queued: Queued) -> None:
        if queued.state == "gated":
            for kept_out in self._gated.values():
                kept_out.pop(queued.info.uid, None)
        self._aside.pop(queued.info.uid, None)
        self._held.pop(queued.info.uid, None)
        if queued.timer is not None:
            queued.timer.cancel()
            queued.timer = None

"""One pod's life on this node, as a table: (state, event) -> (state, orders). No I/O.

    Syncing ──Stop──> Terminating ──ContainersGone──> Terminated ──ResourcesFreed──> Finished
       └── Syncing (on every change, until the pod ends by itself: then Stop as well)

Orders: `sync` (make the runtime match the spec), `kill` (stop the containers within `grace` seconds), `tell` (the
status of a pod that is on its way out: its readiness may change still), `free` (volumes, cgroups, sandboxes), `report`
(last status; delete the API object if it was being deleted).

Upstream: pkg/kubelet/pod_workers.go.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from timonel.records import dataclass


class State(enum.StrEnum):
    SYNCING = "Syncing"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FINISHED = "Finished"


class Verb(enum.StrEnum):
    SYNC = "sync"
    KILL = "kill"
    TELL = "tell"
    FREE = "free"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Worker:
    state: State = State.SYNCING
    grace: float = 0.0  # of the kill under way


@dataclass(frozen=True, slots=True)
class Changed:
    """The spec, the runtime, a probe or a timer: look again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The pod was deleted, has ended or is not wanted here; its containers get `grace` seconds."""

    grace: float


@dataclass(frozen=True, slots=True)
class ContainersGone:
    """Nothing of the pod runs any more."""


@dataclass(frozen=True, slots=True)
class ResourcesFreed:
    """What the pod held on this node is given back."""


Event = Changed | Stop | ContainersGone | ResourcesFreed


@dataclass(frozen=True, slots=True)
class Order:
    verb: Verb
    grace: float = 0.0


Step = tuple[Worker, tuple[Order, ...]]


class ImpossibleEvent(Exception):
    """The table has no row for this pair: a bug in the shell, never in the cluster."""


def _sync(w: Worker, e: Event) -> Step:
    return w, (Order(Verb.SYNC),)


def _stop(w: Worker, e: Event) -> Step:
    assert isinstance(e, Stop)
    return Worker(State.TERMINATING, e.grace), (Order(Verb.KILL, e.grace),)


def _hurry(w: Worker, e: Event) -> Step:
    """As kubelet: a second stop may only shorten the grace period (pod_workers.go)."""
    assert isinstance(e, Stop)
    if e.grace >= w.grace:
        return _tell(w, e)
    return replace(w, grace=e.grace), (Order(Verb.KILL, e.grace),)


def _tell(w: Worker, e: Event) -> Step:
    return w, (Order(Verb.TELL),)


def _free(w: Worker, e: Event) -> Step:
    return replace(w, state=State.TERMINATED), (Order(Verb.FREE),)


def _finish(w: Worker, e: Event) -> Step:
    return replace(w, state=State.FINISHED), (Order(Verb.REPORT),)


def _report(w: Worker, e: Event) -> Step:
    """A pod that ended long ago is deleted now: there is only the object left to remove."""
    return w, (Order(Verb.REPORT),)


def _ignore(w: Worker, e: Event) -> Step:
    return w, ()


TABLE: dict[tuple[State, type[Event]], Callable[[Worker, Event], Step]] = {
    (State.SYNCING, Changed): _sync,
    (State.SYNCING, Stop): _stop,
    (State.TERMINATING, Changed): _tell,
    (State.TERMINATING, Stop): _hurry,
    (State.TERMINATING, ContainersGone): _free,
    (State.TERMINATED, Changed): _ignore,
    (State.TERMINATED, Stop): _ignore,
    (State.TERMINATED, ResourcesFreed): _finish,
    (State.FINISHED, Changed): _report,
    (State.FINISHED, Stop): _report,
}


def step(worker: Worker, event: Event) -> Step:
    row = TABLE.get((worker.state, type(event)))
    if row is None:
        raise ImpossibleEvent(f"{type(event).__name__} while {worker.state}")
    return row(worker, event)

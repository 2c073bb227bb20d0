"""How a controller is declared: a value, like a resource type. `runtime` runs it and knows no kind."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from timonel.control.actions import Outcome, Plan, Status
from timonel.control.questions import Inquiry
from timonel.objects.indexing import BySelector, Entries, namespace_of, wanted_by
from timonel.objects.meta import Key, Object, controller_of, key_of, labels_of
from timonel.objects.workloads import selector_of
from timonel.records import dataclass

Seen = TypeVar("Seen")


class Cache(Protocol):
    """Read-only, in-memory, never waits. What it returns is shared: do not mutate.

    Only resources that the controller declares in `watches` (or `reads`) can be asked for.
    """

    def now(self) -> float:
        """Seconds since the epoch, from the cluster's clock; `observe` copies it into Observed where time matters."""

    def steady_since(self) -> float:
        """Since when that clock runs evenly under our eyes: times of before say nothing about how long nobody spoke."""

    def gone_since(self, resource: str, key: Key) -> float:
        """When an object that is not there was last seen to vanish; `steady_since` if nobody saw it."""

    def gone_uid(self, resource: str, key: Key) -> str:
        """The uid of the object of that name that was last seen to vanish; empty if nobody saw it."""

    def knows(self, resource: str) -> bool:
        """Whether a resource can be asked for that is there only now and then (`ControllerType.others`)."""

    def get(self, resource: str, key: Key) -> Object | None: ...

    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]:
        """All objects, or those of one namespace; in no particular order."""

    def controlled_by(self, owner: Object, resource: str) -> Sequence[Object]:
        """Objects in the owner's namespace whose controller reference has the owner's uid."""

    def orphans(
        self, resource: str, namespace: str, labels: Callable[[dict[str, str]], bool]
    ) -> Sequence[Object]:
        """Objects of a namespace that nobody controls and whose labels satisfy the predicate: whom one may adopt."""

    def owned_by(self, uid: str, resource: str) -> Sequence[Object]:
        """Objects with any owner reference to `uid`."""

    def by(self, resource: str, entries: Entries, value: Hashable) -> Sequence[Object]:
        """Objects that `entries` (`objects.indexing`) files under a value: found, not looked for."""

    def count(self, resource: str) -> int:
        """How many objects there are."""

    def select(
        self,
        resource: str,
        namespace: str,
        labels: Callable[[dict[str, str]], bool],
        having: Mapping[str, str] | None = None,
    ) -> Sequence[Object]:
        """Objects of a namespace whose labels satisfy the predicate (`machinery.selectors`).

        `having`: labels that each of them must have, by which they are found among many.
        """


Wakes = Callable[[Object, "Cache"], Iterable[Key]]


def _itself(obj: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(obj),)


@dataclass(frozen=True, slots=True)
class Watch:
    """A change to `resource` wakes the objects that `wakes` names.

    The runtime calls `wakes` on the old and on the new object. It must be cheap and must not wait; it may look at the
    cache (to find the Services that select a Pod). With `matters`, changes between two states may be passed over. With
    `delay`, whom they wake looks so many seconds later, once for all that happens until then.
    """

    resource: str
    wakes: Wakes = _itself
    matters: Callable[[Object, Object], bool] | None = None
    delay: float = 0.0


def its_controller(kind: str) -> Wakes:
    """For `Watch.wakes`: the object that controls the changed one, if it is of this kind."""

    def wakes(obj: Object, cache: Cache) -> Iterable[Key]:
        ref = controller_of(obj)
        if ref is not None and ref["kind"] == kind:
            return (Key(obj["metadata"].get("namespace", ""), ref["name"]),)
        return ()

    return wakes


def selecting(resource: str, by: BySelector) -> Wakes:
    """For `Watch.wakes`: those of `resource` whose selector matches the labels of the changed object."""

    def wakes(obj: Object, cache: Cache) -> Iterable[Key]:
        labels = labels_of(obj)
        return [
            key_of(each)
            for wanted in wanted_by(namespace_of(obj), labels)
            for each in cache.by(resource, by, wanted)
            if by.selector_of(each).matches(labels)
        ]

    return wakes


def controller_or_adopters(kind: str, resource: str) -> Wakes:
    """For `Watch.wakes`: the controller of the changed object or, for an orphan, all who would adopt it.

    `resource` is that of the controllers, which have a `spec.selector`.
    """
    controlled, adopters = its_controller(kind), selecting(resource, BySelector(selector_of))

    def wakes(obj: Object, cache: Cache) -> Iterable[Key]:
        if controller_of(obj) is not None:
            return controlled(obj, cache)
        return adopters(obj, cache) if labels_of(obj) else ()

    return wakes


def nobody(obj: Object, cache: Cache) -> Iterable[Key]:
    """For resources that a controller only reads."""
    return ()


@dataclass(frozen=True, slots=True)
class Memory(Generic[Seen]):
    """What a pass leaves to the next one of the same object (None: nothing); it is lost with the process.

    Only what upstream forgets on a restart, too, may be kept so: how long ago something failed, what was recommended.
    """

    recall: Callable[[Seen, Any], Seen]
    remember: Callable[[Object, Seen, Outcome], Any]


@dataclass(frozen=True, slots=True)
class ControllerType(Generic[Seen]):
    """`name` is upstream's (`deployment-controller`); it runs as system:serviceaccount:kube-system:NAME.

    One pass for one key: `desired` (the watched object; see `absent`) → observe → reconcile → the plan is applied →
    `status`, if given, is written to /status when it differs from the stored one. `status` returns the whole new
    status, or None to leave it.
    """

    name: str
    watches: tuple[Watch, ...]  # the first one is the reconciled resource
    observe: Callable[[Object, Cache], Seen]
    reconcile: Callable[[Object, Seen], Plan]
    status: Callable[[Object, Seen, Outcome], Status | None] | None = None
    # called instead of reconcile when the object is gone (or never was): what to clean up for its key
    absent: Callable[[Key, Cache], Plan] | None = None
    workers: int = 5
    component: str = ""  # the source of its Events, where upstream's differs from `name`
    # whom a change of a namespaced resource wakes that `watches` does not name, by the resource: custom ones and those
    # of other servers come and go. Only their metadata is known
    others: Callable[[str], Watch] | None = None
    counts_others: bool = False  # every object is woken when there are others
    longest_backoff: float = 1000.0  # seconds between two passes that fail, at most
    # what must be asked of the cluster beside the cache, between `observe` and `reconcile`
    inquiry: Inquiry[Seen] | None = None
    memory: Memory[Seen] | None = None
    # it looks again and again whether something is alive: where time makes a leap, not as often (see aio.clock.upkeep)
    watches_life: bool = False


AnyControllerType = ControllerType[Any]


# ---- the graph of owners and dependents, which spans all resources


class OwnerState(enum.Enum):
    """What an owner reference leads to. ABSENT has been verified live; the others may come from the cache."""

    SOLID = "solid"
    ABSENT = "absent"
    WAITING = "waiting"  # being deleted, in the foreground: it waits for its dependents
    INVALID = "invalid"  # a cluster-scoped object cannot be owned by a namespaced one


@dataclass(frozen=True, slots=True)
class Node:
    """An object in the graph; only its metadata is sure to be there."""

    resource: str
    obj: Object


@dataclass(frozen=True, slots=True)
class Family:
    """What surrounds an object: the state of each owner by uid, and everything that names the object as an owner.

    `elsewhere`: uids of owners that are known, but live in a namespace of which they cannot own the object.
    """

    owners: Mapping[str, OwnerState]
    dependents: Sequence[Node]
    elsewhere: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GraphControllerType:
    """A controller that decides about one object, freshly read, by its family (the garbage collector)."""

    name: str
    reconcile: Callable[[Node, Family], Plan]
    ignored: frozenset[str] = frozenset()  # resources that are neither watched nor touched
    workers: int = 20

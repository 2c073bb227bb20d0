"""The extension points, as upstream's scheduling framework has them, but over all nodes at once.

A plugin implements the points that it needs (`isinstance` against the Protocols below decides, once per profile). Pure
points get the cycle's `State`; `reserve`, `pre_bind` and `bind` act on one chosen node and may wait.

Upstream: kube-scheduler/framework/interface.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from timonel.objects.meta import Key, Object
from timonel.records import dataclass
from timonel.scheduler.nodes import Ints, Mask, Nodes
from timonel.scheduler.podinfo import PodInfo
from timonel.scheduler.preemption import Candidate

MAX_SCORE = 100
ALL_CANDIDATES = "all candidates"  # among the notes, where extenders have a say about victims

T = TypeVar("T")


class Reads(Protocol):
    """The scheduler's caches besides nodes and pods."""

    def get(self, resource: str, key: Key) -> Object | None: ...
    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]: ...


@dataclass(slots=True)
class State:
    """One decision: what plugins see, and what they leave for their later points in `notes`."""

    info: PodInfo
    nodes: Nodes
    reads: Reads
    notes: dict[str, Any] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)  # filters that have nothing against any node

    @property
    def count(self) -> int:
        return len(self.nodes)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What is worked out for all nodes at the first call, and kept."""
        found: T | None = self.notes.get(name)
        if found is None:
            found = self.notes[name] = make()
        return found


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nodes (a mask along the rows asked about) that a filter refuses for one reason.

    `resolvable`: removing pods could help.
    """

    mask: Mask
    reason: str
    resolvable: bool = False


class Rejected(Exception):
    """No node will do (from pre_filter), or this one will not (from later points). `resolvable`: without some pods."""

    def __init__(self, reason: str, *, resolvable: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.resolvable = reason, resolvable


class PluginFailed(Exception):
    """A plugin raised what it should not; told as upstream tells it."""


@dataclass(frozen=True, slots=True)
class Nomination:
    """A node that will do once its victims are gone; without a node, an earlier nomination is taken back."""

    node: str
    victims: tuple[PodInfo, ...] = ()


Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class PostFiltered:
    """What a post filter has to say; `final`: nobody else is asked."""

    message: str = ""
    nomination: Nomination | None = None
    final: bool = False
    work: Work | None = None  # to be done now
    candidates: Sequence[Candidate] = ()  # nodes that would do, where others want to choose among them


class Skip(Exception):
    """From pre_filter: the plugin's filter has nothing against any node, whatever pods come or go."""


class Plugin(Protocol):
    """`scope` tells what the answers of filter and score depend on besides the pod: "nodes" (the objects), "row" (and
    the pods of the node) or "cluster" (anything). It decides how long an answer is kept; without it, not at all.
    """

    name: str
    events: frozenset[str]  # what may make a pod schedulable that this plugin refused


@runtime_checkable
class PreEnqueuePlugin(Protocol):
    def pre_enqueue(self, pod: Object) -> str | None:
        """Why the pod must not be looked at yet."""


@runtime_checkable
class QueueSortPlugin(Protocol):
    def rank(self, info: PodInfo, since: float) -> Any:
        """Pods are decided in this order, the smallest first; `since` is when the pod came."""


@runtime_checkable
class QueueingHintPlugin(Protocol):
    def may_help(self, info: PodInfo, event: str, old: Object | None, new: Object | None) -> bool:
        """Whether one of `events` could help a pod that this plugin refused; called for those alone."""


@runtime_checkable
class PreFilterPlugin(Protocol):
    def pre_filter(self, state: State) -> set[str] | None:
        """The only nodes worth looking at, or None for all; raises Rejected, or Skip."""


@runtime_checkable
class FollowingPlugin(Protocol):
    def pod_changed(self, state: State, info: PodInfo, row: int, sign: int) -> None:
        """Brings the notes of pre_filter up to date: a pod came to (+1) or left (-1) a node, if only supposedly."""


@runtime_checkable
class ForgettingPlugin(Protocol):
    def row_changed(self, state: State, row: int) -> None:
        """Something about a node or its pods is not as it was: forget what was noted about it."""


@runtime_checkable
class FilterPlugin(Protocol):
    def filter(self, state: State, rows: Ints) -> Iterable[Refusal]:
        """Several refusals of one node are all reported."""


@runtime_checkable
class PostFilterPlugin(Protocol):
    def post_filter(self, state: State, diagnosis: Diagnosis, suppose: Suppose) -> PostFiltered:
        """Called when no node will do; `suppose` tells whether one would without some pods."""


@runtime_checkable
class PreScorePlugin(Protocol):
    def pre_score(self, state: State, rows: Ints) -> None:
        """Called once with the feasible rows, before they are scored."""


@runtime_checkable
class ScorePlugin(Protocol):
    def score(self, state: State, rows: Ints) -> NDArray[Any] | None:
        """A number for each of the rows; None to leave their order alone."""


@runtime_checkable
class NormalizePlugin(Protocol):
    def normalize(self, state: State, rows: Ints, scores: NDArray[Any]) -> NDArray[Any]:
        """Brings what `score` gave for all feasible rows to 0..100."""


@runtime_checkable
class ReservePlugin(Protocol):
    def reserve(self, state: State, row: int) -> None:
        """The node is chosen; raises Rejected."""

    def unreserve(self, state: State) -> None:
        """It will not be bound; also called where reserve was not, and must not fail."""


@runtime_checkable
class PermitPlugin(Protocol):
    async def permit(self, state: State, node: str) -> None:
        """Wait until the pod may be bound; raise Rejected to refuse."""


@runtime_checkable
class PreBindPlugin(Protocol):
    async def pre_bind(self, state: State, node: str) -> None: ...


@runtime_checkable
class PreFlightPlugin(Protocol):
    def has_to_pre_bind(self, state: State) -> bool:
        """Whether `pre_bind` has anything to do; if so, the pod's status names the node meanwhile."""


@runtime_checkable
class BindPlugin(Protocol):
    async def bind(self, state: State, node: str) -> bool | None:
        """False leaves it to the next one."""


@runtime_checkable
class PostBindPlugin(Protocol):
    def post_bind(self, state: State, node: str) -> None: ...


class Cluster(Protocol):
    """What plugins act through."""

    async def bind(self, pod: Object, node: str) -> None: ...
    async def read(self, resource: str, key: Key) -> Object:
        """From the API, not from the cache."""

    async def patch(
        self, resource: str, key: Key, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object: ...
    async def create(self, resource: str, obj: Object) -> Object: ...
    async def delete(self, resource: str, key: Key) -> None:
        """It may be gone already."""

    def now(self) -> float: ...
    def record(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """An Event; `kind` is Normal or Warning."""

    def in_background(self, work: Work) -> None:
        """Do it soon; what fails is logged."""

    async def until_changed(self, resource: str, key: Key) -> None:
        """Wait for the next change of an object, or for its absence."""


@runtime_checkable
class ActingPlugin(Protocol):
    def attach(self, cluster: Cluster) -> None:
        """Called once, before anything is decided."""


class Suppose(Protocol):
    """A node with other pods on it than it has, for the length of a block."""

    def at(self, row: int) -> AbstractContextManager[Supposed]: ...


class Supposed(Protocol):
    def add(self, info: PodInfo) -> None: ...
    def remove(self, info: PodInfo) -> None: ...
    def refusals(self) -> Sequence[Refusal]:
        """Why the pod would be refused now; empty if it would not."""


@dataclass(slots=True)
class Diagnosis:
    """Why no node will do."""

    count: int
    reasons: Counter[str] = field(default_factory=Counter)
    plugins: set[str] = field(default_factory=set)  # who refused: their events matter to this pod
    rejected: str = ""  # from pre_filter, instead of reasons
    unresolvable: Mask = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    looked_at: Ints = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )  # rows that pre_filter has left
    post_filter: str = ""
    nomination: Nomination | None = None
    work: list[Work] = field(default_factory=list)  # that post filters want done
    said: list[str] = field(default_factory=list)  # by post filters before the one that has helped
    candidates: Sequence[Candidate] = ()
    failure: Exception | None = None  # of a post filter
    lacks_only_room: bool = False  # where it is not hopeless: sums of requests tell all

    @property
    def message(self) -> str:
        if not self.count:
            return "no nodes available to schedule pods"
        parts = f"0/{self.count} nodes are available: {self.rejected or histogram(self.reasons)}."
        return f"{parts} {self.post_filter}" if self.post_filter else parts


def histogram(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))


def normalized(scores: NDArray[Any], *, reverse: bool = False) -> Ints:
    """Scales to 0..100 by the greatest, in whole numbers. Upstream: helper/normalize_score.go."""
    top = int(scores.max()) if len(scores) else 0
    if top == 0:
        return np.full(len(scores), MAX_SCORE if reverse else 0, dtype=np.int64)
    scaled = (MAX_SCORE * scores.astype(np.int64)) // top
    return MAX_SCORE - scaled if reverse else scaled

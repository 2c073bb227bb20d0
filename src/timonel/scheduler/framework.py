"""The extension points, as upstream's scheduling framework has them, but over all nodes at once.

A plugin implements the points that it needs (`isinstance` against the Protocols below decides, once per profile). Pure
points get the cycle's `State`; `reserve`, `pre_bind` and `bind` act on one chosen node and may wait.

Upstream: kube-scheduler/framework/interface.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from timonel.objects.meta import Key, Object
from timonel.scheduler.nodes import Ints, Mask, Nodes
from timonel.scheduler.podinfo import PodInfo

MAX_SCORE = 100


class Reads(Protocol):
    """The scheduler's caches besides nodes and pods."""

    def get(self, resource: str, key: Key) -> Object | None: ...
    def list(self, resource: str, namespace: str | None = None) -> Sequence[Object]: ...


@dataclass(slots=True)
class State:
    """One cycle: what plugins see, and what they leave for their later points in `notes`."""

    info: PodInfo
    nodes: Nodes
    reads: Reads
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nodes (a mask) that a filter refuses for one reason. `resolvable`: removing pods could help."""

    mask: Mask
    reason: str
    resolvable: bool = False


class Rejected(Exception):
    """From pre_filter: no node will do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Plugin(Protocol):
    name: str
    events: frozenset[str]  # what may make a pod schedulable that this plugin refused


@runtime_checkable
class PreEnqueuePlugin(Protocol):
    def pre_enqueue(self, pod: Object) -> str | None:
        """Why the pod must not be looked at yet."""


@runtime_checkable
class PreFilterPlugin(Protocol):
    def pre_filter(self, state: State) -> set[str] | None:
        """The only nodes worth looking at, or None for all; raises Rejected."""


@runtime_checkable
class FilterPlugin(Protocol):
    def filter(self, state: State) -> Iterable[Refusal]:
        """Several refusals of one node are all reported."""


@runtime_checkable
class ScorePlugin(Protocol):
    def score(self, state: State, rows: Ints) -> NDArray[Any] | None:
        """0 to 100 for each of the feasible rows, normalised; None to leave the order alone."""


@runtime_checkable
class ReservePlugin(Protocol):
    def reserve(self, state: State, row: int) -> None: ...
    def unreserve(self, state: State) -> None: ...


@runtime_checkable
class PermitPlugin(Protocol):
    async def permit(self, state: State, node: str) -> None:
        """Wait until the pod may be bound; raise to refuse."""


@runtime_checkable
class PreBindPlugin(Protocol):
    async def pre_bind(self, state: State, node: str) -> None: ...


@runtime_checkable
class BindPlugin(Protocol):
    async def bind(self, state: State, node: str) -> None: ...


@runtime_checkable
class PostBindPlugin(Protocol):
    def post_bind(self, state: State, node: str) -> None: ...


@runtime_checkable
class PostFilterPlugin(Protocol):
    def post_filter(self, state: State, diagnosis: Diagnosis) -> str:
        """Called when no node will do; what was tried, for the message."""


@dataclass(slots=True)
class Diagnosis:
    """Why no node will do."""

    count: int
    reasons: Counter[str] = field(default_factory=Counter)
    plugins: set[str] = field(default_factory=set)  # who refused: their events matter to this pod
    rejected: str = ""  # from pre_filter, instead of reasons
    unresolvable: Mask = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    post_filter: str = ""

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

"""Which pods must go so that one fits on a node, and which node is the cheapest. Pure.

Upstream: pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go (SelectVictimsOnNode),
framework/preemption/preemption.go (pickOneNodeForPreemption).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from timonel.objects.meta import Object
from timonel.records import dataclass
from timonel.scheduler.budgets import Budgets
from timonel.scheduler.nodes import PODS, Nodes
from timonel.scheduler.podinfo import PodInfo

NOT_STARTED = "\uffff"  # later than any time: such a pod is taken to start just now
OFFSET = 1 << 31  # makes all priorities positive, so that fewer victims have the smaller sum


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and the pods that must go, the most important first."""

    row: int
    victims: tuple[PodInfo, ...]
    cost: tuple[int, int, int, int]  # violated budgets, highest priority, sum of priorities, number
    earliest_start: str  # of the victims of the highest priority

    @property
    def rank(self) -> tuple[object, ...]:
        """The smallest is the cheapest; of equals the one that started last, then the first node."""
        return (*self.cost, tuple(-ord(c) for c in self.earliest_start), self.row)

    @property
    def violations(self) -> int:
        return self.cost[0]

    @classmethod
    def of(cls, row: int, victims: Sequence[PodInfo], violations: int) -> Candidate:
        highest = victims[0].priority
        return cls(
            row,
            tuple(victims),
            (violations, highest, sum(v.priority + OFFSET for v in victims), len(victims)),
            min(_started(v) for v in victims if v.priority == highest),
        )


def _started(info: PodInfo) -> str:
    found: str = (info.pod.get("status") or {}).get("startTime") or NOT_STARTED
    return found


def by_importance(pods: Iterable[PodInfo]) -> list[PodInfo]:
    """Higher priority first, then the one that started earlier."""
    # Of pods that have not started upstream puts the later one first: each comparison takes "now" for their start.
    latest_first = list(pods)[::-1]
    return sorted(latest_first, key=lambda info: (-info.priority, _started(info)))


class Place(Protocol):
    """A node with some of its pods supposedly gone."""

    def remove(self, info: PodInfo) -> None: ...
    def add(self, info: PodInfo) -> None: ...
    def fits(self) -> bool: ...


def victims_on(row: int, lower: Sequence[PodInfo], place: Place, budgets: Budgets) -> Candidate | None:
    """All pods of lower priority go; then as many as can stay come back, those with a budget first.

    None where the pod does not even fit without all of them.
    """
    for info in lower:
        place.remove(info)
    if not place.fits():
        return None
    ordered = by_importance(lower)
    violated = budgets.violated(ordered)
    victims: list[PodInfo] = []
    violations = 0
    for protected in (True, False):
        for info in ordered:
            if (info.uid in violated) is not protected:
                continue
            place.add(info)
            if not place.fits():
                place.remove(info)
                victims.append(info)
                violations += protected
    return Candidate.of(row, by_importance(victims), violations)


def cheapest(candidates: Iterable[Candidate]) -> Candidate:
    found: list[Candidate] = []
    least: tuple[int, int, int, int] | None = None
    for candidate in candidates:
        cost = candidate.cost
        if least is None or cost < least:
            least, found = cost, [candidate]
        elif cost == least:
            found.append(candidate)
    latest = max(candidate.earliest_start for candidate in found)
    return next(c for c in found if c.earliest_start == latest)


@dataclass(slots=True)
class Room:
    """A node where nothing but room is lacking: sums of requests tell all. `free` counts what is left of it."""

    free: dict[str, int]
    asked: Mapping[str, int]
    pods: int  # how many more may come

    def remove(self, info: PodInfo) -> None:
        self._change(info, 1)

    def add(self, info: PodInfo) -> None:
        self._change(info, -1)

    def _change(self, info: PodInfo, sign: int) -> None:
        self.pods += sign
        free = self.free
        for resource, amount in info.requests.items():
            if resource in free:
                free[resource] += sign * amount

    def lacking(self) -> list[str]:
        """What is lacking, as NodeResourcesFit says it."""
        found = [] if self.pods > 0 else ["Too many pods"]
        return found + [f"Insufficient {r}" for r, amount in self.asked.items() if self.free[r] < amount]

    def fits(self) -> bool:
        free = self.free
        return self.pods > 0 and all(free[resource] >= amount for resource, amount in self.asked.items())


def room(nodes: Nodes, info: PodInfo, row: int, *, for_another: bool = False) -> Room:
    """What is left of a node for a pod, once those have come that are nominated there and as important as it.

    `for_another`: for one that is like it, and nominated nowhere.
    """
    free = {
        resource: int(nodes.allocatable[row, column] - nodes.requested[row, column])
        for resource, column in ((r, nodes.column_of(r)) for r in info.requests)
    }
    column = nodes.resources[PODS]
    found = Room(free, info.requests, int(nodes.allocatable[row, column] - nodes.requested[row, column]))
    for other in (nodes.nominations.get(nodes.name(row)) or {}).values():
        if (for_another or other.uid != info.uid) and other.priority >= info.priority:
            found.add(other)
    return found


def is_being_preempted(pod: Object) -> bool:
    """Whether it ends because a scheduler makes room."""
    if "deletionTimestamp" not in pod["metadata"]:
        return False
    return any(
        c["type"] == "DisruptionTarget"
        and c["status"] == "True"
        and c.get("reason") == "PreemptionByScheduler"
        for c in (pod.get("status") or {}).get("conditions") or ()
    )

"""What the scheduler counts about its own work, in plain numbers; `distro.figures` shows them at `/metrics`.

Durations are of real time. Upstream: pkg/scheduler/metrics/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from timonel.aio.histogram import Histogram

SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"
SUCCESS, REFUSED, FAILED, SKIPPED = "Success", "Unschedulable", "Error", "Skip"
MOST_ATTEMPTS = 15  # told apart


def doubled(first: float, count: int) -> Sequence[float]:
    return tuple(first * 2**power for power in range(count))


ATTEMPT = doubled(0.001, 15)
POINT = doubled(0.0001, 12)
LIFE = doubled(0.01, 20)


class Histograms(dict[Any, Histogram]):
    """One for each set of labels that was seen."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds

    def __missing__(self, key: Any) -> Histogram:
        found = self[key] = Histogram(self._bounds)
        return found


class Counters(dict[Any, int]):
    def __missing__(self, key: Any) -> int:
        return 0


class Measures:
    """`watch` is a stopwatch in seconds; the one of a profile on its own stands still."""

    def __init__(self, watch: Callable[[], float] = lambda: 0.0) -> None:
        self.watch = watch
        self.attempts = Histograms(ATTEMPT)  # by result and profile
        self.algorithm = Histogram(ATTEMPT)
        self.lives = Histograms(LIFE)  # by number of attempts: from the first until it was bound
        self.tries = Histogram(doubled(1, 5))  # of pods that were bound
        self.points = Histograms(POINT)  # by extension point, status and profile
        self.permits = Histograms(ATTEMPT)  # by result
        self.victims = Histogram(doubled(1, 7))
        self.preemptions = 0
        self.evictions = Histograms(LIFE)  # by result: making room for one pod
        self.incoming = Counters()  # by part of the queue and event
        self.after_flush = 0  # pods bound that nothing but time had moved on
        self.claims = Counters()  # by status: ResourceClaims made for extended resources

    def point(self, name: str, profile: str, since: float, status: str = SUCCESS) -> None:
        self.points[name, status, profile].add(self.watch() - since)

    def attempt(self, result: str, profile: str, since: float) -> None:
        self.attempts[result, profile].add(self.watch() - since)

    def bound(self, attempts: int, seconds: float) -> None:
        self.tries.add(attempts)
        self.lives[str(attempts) if attempts < MOST_ATTEMPTS else f"{MOST_ATTEMPTS}+"].add(seconds)

"""PrioritySort: the pod of higher priority first, then the one that waits longer."""

from __future__ import annotations

from timonel.scheduler.podinfo import PodInfo


class PrioritySort:
    name = "PrioritySort"
    events: frozenset[str] = frozenset()

    def rank(self, info: PodInfo, since: float) -> tuple[int, float]:
        """Smallest first."""
        return (-info.priority, since)

"""How many of the nodes that pass are scored, where a configuration asks for fewer than all. Pure.

Decisions take turns: each one begins with the node at which the last one stopped.

Upstream: pkg/scheduler/schedule_one.go (numFeasibleNodesToFind, findNodesThatPassFilters).
"""

from __future__ import annotations

import numpy as np

from timonel.scheduler.nodes import Ints

LEAST = 100  # nodes that are scored at least
LEAST_PERCENTAGE = 5


def enough(percentage: int, count: int) -> int:
    """So many nodes that pass will do. With 0 per cent it depends on how many there are."""
    if count < LEAST:
        return count
    if not percentage:
        percentage = max(50 - count // 125, LEAST_PERCENTAGE)
    return max(count * percentage // 100, LEAST)


def sampled(looked_at: Ints, passing: Ints, start: int, wanted: int) -> tuple[Ints, int]:
    """The first ones of those that pass, and how many nodes had to be looked at.

    Both lists of rows ascend, and one holds the other. The search begins with the node number `start`, and goes round.
    """
    count = len(looked_at)
    if not count:
        return passing, 0
    distance = (np.searchsorted(looked_at, passing) - start) % count
    order = np.argsort(distance)
    if len(passing) <= wanted:
        return passing[order], count
    return passing[order[:wanted]], int(distance[order[wanted]])

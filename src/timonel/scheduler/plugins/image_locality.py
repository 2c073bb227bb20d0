"""ImageLocality: prefers nodes that have the pod's images, the more the larger they are.

An image that few nodes have counts for less, so that pods do not crowd there.
"""

from __future__ import annotations

import numpy as np

from timonel.scheduler.framework import MAX_SCORE, State
from timonel.scheduler.nodes import Ints

LEAST = 23 << 20  # bytes below which an image does not matter
MOST_PER_CONTAINER = 1000 << 20


class ImageLocality:
    name = "ImageLocality"
    scope = "nodes"
    events: frozenset[str] = frozenset()

    def score(self, state: State, rows: Ints) -> Ints | None:
        sums = np.zeros(state.count, dtype=np.int64)
        for image in state.info.images:
            holders = state.nodes.images.get(normalized_name(image), {})
            spread = len(holders) / state.count
            for node, size in holders.items():
                sums[state.nodes.row[node]] += int(size * spread)
        if not sums.any():
            return None
        most = MOST_PER_CONTAINER * len(state.info.images)
        clipped = np.clip(sums[rows], LEAST, most)
        return MAX_SCORE * (clipped - LEAST) // (most - LEAST)


def normalized_name(image: str) -> str:
    """Nodes name images with a tag."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"

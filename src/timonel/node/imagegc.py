"""Which images go when the disk fills up. Pure.

Upstream: pkg/kubelet/images/image_gc_manager.go (high threshold 85 %, low 80 %, minimum age 2 minutes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from timonel.node.cri.runtime import Image

HIGH, LOW = 0.85, 0.80
MINIMUM_AGE = 120.0


def bytes_to_free(capacity: int, available: int) -> int:
    """0 while the disk is not fuller than the high threshold; then down to the low one."""
    if capacity <= 0:
        return 0
    used = capacity - available
    return max(used - int(capacity * LOW), 0) if used >= capacity * HIGH else 0


def doomed(
    images: Sequence[Image],
    last_used: Mapping[str, float],
    in_use: AbstractSet[str],
    pinned: AbstractSet[str],
    *,
    now: float,
    wanted: int,
    age: float = MINIMUM_AGE,
) -> list[Image]:
    """The longest unused first, until `wanted` bytes are free. Never one in use, the sandbox's own, or one younger than
    `age` seconds."""
    candidates = [
        image
        for image in images
        if image.id not in in_use
        and pinned.isdisjoint(image.tags)
        and now - last_used.get(image.id, now) >= age
    ]
    found, freed = list[Image](), 0
    for image in sorted(candidates, key=lambda i: last_used[i.id]):
        if freed >= wanted:
            break
        found.append(image)
        freed += image.size
    return found

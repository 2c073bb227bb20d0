"""Which images go when the disk fills up, and which for their age. Pure.

Upstream: pkg/kubelet/images/image_gc_manager.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from timonel.node.cri.runtime import Image
from timonel.node.imagesettings import ImageSettings


def bytes_to_free(capacity: int, available: int, settings: ImageSettings) -> int:
    """0 while the disk is not fuller than the high threshold, or that is 100; then down to the low one."""
    if capacity <= 0 or settings.high == 100:
        return 0
    used = capacity - available
    return max(used - capacity * settings.low // 100, 0) if used >= capacity * settings.high / 100 else 0


def doomed(
    images: Sequence[Image],
    last_used: Mapping[str, float],
    in_use: AbstractSet[str],
    pinned: AbstractSet[str],
    *,
    now: float,
    wanted: int,
    age: float,
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

"""How many seats a request takes: one, but a list takes more by what it has to hold in memory.

Upstream: apiserver/pkg/util/flowcontrol/request/{width,list_work_estimator,mutating_work_estimator}.go.
"""

from __future__ import annotations

import math
from itertools import islice

from timonel.server.chain.info import Info, flag
from timonel.server.watchcache import ResourceCache

BYTES_PER_SEAT = 100_000
FROM_CACHE = 1_000_000  # bytes at most that a list from the cache counts for: it is not built as a whole
MOST = 10
SAMPLED = 16  # objects that stand for the size of all


def seats(info: Info, cache: ResourceCache | None, widest: int) -> int:
    """Of a request; `widest` is the level's own limit, 0 for none."""
    if cache is None or info.verb not in ("list", "watch"):
        return 1
    if info.verb == "watch" and not flag(info.first("sendInitialEvents")):
        return 1
    most = min(widest, MOST) if widest else MOST
    if info.name:
        return 1
    stored = len(cache.entries)
    limit = _limit(info.first("limit"))
    loaded = min(limit, stored) if limit else stored
    version = info.first("resourceVersion")
    from_store = info.verb == "list" and bool(
        info.first("continue") or (limit and version not in ("", "0")) or _exact(info)
    )
    if from_store and (info.first("fieldSelector") or info.first("labelSelector")):
        loaded = max(loaded, stored // 2)
    memory = loaded * _size(cache)
    if not from_store:
        memory = min(memory, FROM_CACHE)
    return max(1, min(most, math.ceil(memory / BYTES_PER_SEAT)))


def _exact(info: Info) -> bool:
    return info.first("resourceVersionMatch") == "Exact"


def _limit(text: str) -> int:
    try:
        return max(int(text), 0)
    except ValueError:
        return 0


def _size(cache: ResourceCache) -> float:
    sample = [len(entry.item) for entry in islice(cache.entries.values(), SAMPLED)]
    return sum(sample) / len(sample) if sample else 0

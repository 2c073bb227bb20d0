"""RollingUpdate of a DaemonSet: which old pods to delete, and on which nodes to start a second, new one (surge).

Upstream: pkg/controller/daemon/update.go (rollingUpdate).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from timonel.machinery import intstr
from timonel.objects import pods, revisions
from timonel.objects.meta import Object, is_deleting, nested


class Step(NamedTuple):
    doomed: list[Object]
    nodes: list[str]


class _Pair(NamedTuple):
    new: Object | None
    old: Object | None
    is_clear: bool  # at most one of each


def bounds(daemonset: Object, wanted: int) -> tuple[int, int]:
    """(surge, unavailable), both rounded up."""
    rolling = nested(daemonset, "spec", "updateStrategy", "rollingUpdate") or {}
    surge = intstr.scaled(rolling.get("maxSurge", 0), wanted, True)
    unavailable = intstr.scaled(rolling.get("maxUnavailable", 1), wanted, True)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def allows_surge(daemonset: Object) -> bool:
    strategy = daemonset["spec"].get("updateStrategy") or {}
    return strategy.get("type") == "RollingUpdate" and bounds(daemonset, 100)[0] > 0


def step(
    daemonset: Object, by_node: Mapping[str, Sequence[Object]], wanted: int, hashed: str, now: float
) -> Step:
    surge, unavailable = bounds(daemonset, wanted)
    pairs = {node: _pair(group, hashed) for node, group in sorted(by_node.items())}
    min_ready = daemonset["spec"].get("minReadySeconds", 0)

    def is_available(pod: Object) -> bool:
        return pods.is_available(pod, min_ready, now)

    if not surge:
        missing, broken, sound = 0, [], []
        for pair in pairs.values():
            if not pair.is_clear or (pair.new is None) == (pair.old is None):
                missing += 1  # being replaced, or left for the next pass to clean up
            elif pair.old is None:
                missing += pair.new is None or not is_available(pair.new)
            elif is_available(pair.old):
                sound.append(pair.old)
            else:
                missing += 1
                broken.append(pair.old)
        return Step([*broken, *sound[: max(0, unavailable - missing)]], [])
    surging, doomed, free, candidates = 0, [], [], []
    for node, pair in pairs.items():
        if not pair.is_clear:
            surging += 1
        elif pair.old is None:
            continue
        elif pair.new is not None:
            if is_available(pair.new):
                doomed.append(pair.old)
            else:
                surging += 1
        elif is_available(pair.old):
            candidates.append(node)
        else:
            free.append(node)
    return Step(doomed, [*free, *candidates[: max(0, surge - surging)]])


def _pair(group: Sequence[Object], hashed: str) -> _Pair:
    new = [p for p in group if revisions.hash_of(p) == hashed and not is_deleting(p)]
    old = [p for p in group if revisions.hash_of(p) != hashed and not is_deleting(p)]
    clear = len(new) <= 1 and len(old) <= 1
    return _Pair(new[0] if new else None, old[0] if old else None, clear)

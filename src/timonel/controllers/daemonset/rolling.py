"""RollingUpdate of a DaemonSet: which old pods to delete, and on which nodes to start a second, new one (surge).

Upstream: pkg/controller/daemon/update.go (rollingUpdate).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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
    daemonset: Object,
    by_node: Mapping[str, Sequence[Object]],
    wanted: Collection[str],
    hashed: str,
    now: float,
) -> Step:
    """`by_node`: the pods of nodes that have or should have some; `wanted`: the nodes that should."""
    surge, unavailable = bounds(daemonset, len(wanted))
    pairs = {node: _pair(group, hashed) for node, group in sorted(by_node.items())}
    min_ready = daemonset["spec"].get("minReadySeconds", 0)

    def is_available(pod: Object) -> bool:
        return pods.is_available(pod, min_ready, now)

    if surge:
        return _surging(pairs, wanted, surge, is_available)
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


def _surging(
    pairs: Mapping[str, _Pair], wanted: Collection[str], surge: int, is_available: Callable[[Object], bool]
) -> Step:
    """Pods on nodes that the template no longer suits stay until as many as should be are available elsewhere."""
    surging = available = 0
    doomed: list[Object] = []
    unsuited: list[Object] = []
    free: list[str] = []
    candidates: list[str] = []
    for node, (new, old, is_clear) in pairs.items():
        if not is_clear:
            surging += 1
            continue
        first = old if old is not None else new
        available += first is not None and is_available(first)
        if old is None:
            continue
        if new is not None:
            if is_available(new):
                doomed.append(old)
            else:
                surging += 1
        elif node not in wanted:
            (unsuited if is_available(old) else doomed).append(old)
        else:
            (candidates if is_available(old) else free).append(node)
    spare = max(0, available - len(wanted))
    return Step([*doomed, *unsuited[:spare]], [*free, *candidates[: max(0, surge - surging)]])


def _pair(group: Sequence[Object], hashed: str) -> _Pair:
    staying = [p for p in group if not is_deleting(p)]
    new = [p for p in staying if revisions.hash_of(p) == hashed]
    old = [p for p in staying if revisions.hash_of(p) != hashed]
    clear = len(new) <= 1 and len(old) <= 1
    return _Pair(new[0] if new else None, old[0] if old else None, clear)

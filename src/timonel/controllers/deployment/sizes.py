"""The arithmetic of a Deployment: surge, unavailability, and how many pods the new ReplicaSet may have.

Upstream: pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from timonel.machinery import intstr
from timonel.objects.meta import Object, annotations_of, nested

DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"


class Bounds(NamedTuple):
    surge: int
    unavailable: int


def replicas_of(obj: Object) -> int:
    found: int = obj["spec"].get("replicas", 0)
    return found


def actual_replicas(sets: Iterable[Object]) -> int:
    return sum(status_count(rs, "replicas") for rs in sets)


def status_count(obj: Object, name: str) -> int:
    found: int = (obj.get("status") or {}).get(name, 0)
    return found


def total_replicas(sets: Iterable[Object]) -> int:
    return sum(map(replicas_of, sets))


def is_rolling(deployment: Object) -> bool:
    return bool(nested(deployment, "spec", "strategy", "type") != "Recreate")


def bounds(deployment: Object) -> Bounds:
    """maxSurge rounds up, maxUnavailable down; both zero would never move, so one pod may then be missing."""
    if not is_rolling(deployment):
        return Bounds(0, 0)
    wanted = replicas_of(deployment)
    rolling = nested(deployment, "spec", "strategy", "rollingUpdate") or {}
    surge = intstr.scaled(rolling.get("maxSurge", 0), wanted, True)
    unavailable = intstr.scaled(rolling.get("maxUnavailable", 0), wanted, False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(surge, min(unavailable, wanted))


def max_replicas(deployment: Object) -> int:
    return replicas_of(deployment) + bounds(deployment).surge


def min_available(deployment: Object) -> int:
    return replicas_of(deployment) - bounds(deployment).unavailable


def new_set_size(deployment: Object, sets: Iterable[Object], current: int) -> int:
    """What the new ReplicaSet, of `current` pods, may grow to beside all `sets`."""
    wanted = replicas_of(deployment)
    if not is_rolling(deployment):
        return wanted
    room = max_replicas(deployment) - total_replicas(sets)
    if room <= 0:
        return current
    return current + min(room, wanted - current)


def annotated(rs: Object, name: str) -> int | None:
    try:
        return int(annotations_of(rs)[name])
    except (KeyError, ValueError):
        return None


def proportional(deployment: Object, sets: Sequence[Object]) -> dict[str, int]:
    """Sizes by ReplicaSet name: a change of spec.replicas in the middle of a rollout is shared among the active sets.

    Each keeps its fraction of the whole as it was before; what rounding leaves over goes to the first one.
    """
    allowed = max_replicas(deployment) if replicas_of(deployment) > 0 else 0
    to_add = allowed - total_replicas(sets)
    newest_first = sorted(sets, key=_created, reverse=True)
    ordered = sorted(
        newest_first if to_add > 0 else sorted(sets, key=_created), key=lambda rs: -replicas_of(rs)
    )
    added = 0
    sizes: dict[str, int] = {}
    for rs in ordered:
        share = _share(deployment, rs, to_add, added)
        sizes[rs["metadata"]["name"]] = replicas_of(rs) + share
        added += share
    if ordered and to_add:
        first = ordered[0]["metadata"]["name"]
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _created(rs: Object) -> tuple[str, str]:
    return rs["metadata"].get("creationTimestamp", ""), rs["metadata"]["name"]


def oldest_first(sets: Iterable[Object]) -> list[Object]:
    return sorted(sets, key=_created)


def _share(deployment: Object, rs: Object, to_add: int, added: int) -> int:
    if not replicas_of(rs) or not to_add or to_add == added:
        return 0
    fraction, allowed = _fraction(deployment, rs), to_add - added
    return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)


def _fraction(deployment: Object, rs: Object) -> int:
    size = replicas_of(rs)
    if replicas_of(deployment) == 0:
        return -size
    before = annotated(rs, MAX_REPLICAS) or status_count(deployment, "replicas")
    if not before:
        return 0
    # Half a pod rounds up, as in Go.
    return (2 * size * max_replicas(deployment) + before) // (2 * before) - size

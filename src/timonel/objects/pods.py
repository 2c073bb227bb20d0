"""Pure helpers over Pods: phases, conditions, readiness, and which pod costs least to lose.

Upstream: pkg/api/v1/pod/util.go, pkg/controller/controller_utils.go.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cmp_to_key
from typing import Any

from timonel.objects.meta import Object, annotations_of, is_deleting, parse_time
from timonel.records import dataclass

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,9}")
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase_of(pod: Object) -> str:
    found: str = (pod.get("status") or {}).get("phase", "")
    return found


def node_of(pod: Object) -> str:
    found: str = (pod.get("spec") or {}).get("nodeName", "")
    return found


def container_path(pod: Object, name: str) -> str:
    """How Events name a container of a pod. Upstream: pkg/kubelet/container/ref.go."""
    inits = pod["spec"].get("initContainers") or ()
    kind = "initContainers" if any(c["name"] == name for c in inits) else "containers"
    if any(c["name"] == name for c in pod["spec"].get("ephemeralContainers") or ()):
        kind = "ephemeralContainers"
    return f"spec.{kind}{{{name}}}"


def is_terminal(pod: Object) -> bool:
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    return not is_terminal(pod) and not is_deleting(pod)


def is_terminating(pod: Object) -> bool:
    """Asked to go and not gone: still holds what it holds."""
    return not is_terminal(pod) and is_deleting(pod)


def condition_of(pod: Object, type_: str) -> dict[str, Any] | None:
    conditions: list[dict[str, Any]] = (pod.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == type_), None)


def is_condition_true(pod: Object, type_: str) -> bool:
    condition = condition_of(pod, type_)
    return condition is not None and condition["status"] == "True"


def is_ready(pod: Object) -> bool:
    return is_condition_true(pod, "Ready")


def ready_since(pod: Object) -> float | None:
    """When the Ready condition turned true; None for a pod that is not ready."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition["status"] != "True":
        return None
    return parse_time(condition.get("lastTransitionTime")) or 0.0


def seconds_to_available(pod: Object, min_ready_seconds: int, now: float) -> float | None:
    """0 for an available pod, what is left of min_ready_seconds for a ready one, None for one that is not ready."""
    if not min_ready_seconds:  # the usual case, worth not parsing a time for
        return 0.0 if is_ready(pod) else None
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, since + min_ready_seconds - now)


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    return seconds_to_available(pod, min_ready_seconds, now) == 0.0


def next_availability(pods: Iterable[Object], min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the first ready pod becomes available; None when none is on its way."""
    if not min_ready_seconds:
        return None
    waits = (seconds_to_available(p, min_ready_seconds, now) for p in pods)
    return min((w for w in waits if w), default=None)


def restart_counts(pod: Object) -> tuple[int, int]:
    """Highest restart count among the containers, and among the sidecars (restartable init containers)."""
    status = pod.get("status") or {}
    sidecars = {
        c["name"]
        for c in (pod.get("spec") or {}).get("initContainers") or ()
        if c.get("restartPolicy") == "Always"
    }
    main = max((s.get("restartCount", 0) for s in status.get("containerStatuses") or ()), default=0)
    side = max(
        (
            s.get("restartCount", 0)
            for s in status.get("initContainerStatuses") or ()
            if s["name"] in sidecars
        ),
        default=0,
    )
    return main, side


def deletion_cost(pod: Object) -> int:
    """What is no 32-bit number in its plainest form costs nothing."""
    text = annotations_of(pod).get(DELETION_COST, "0")
    cost = int(text) if _NUMBER.fullmatch(text) else 0
    return cost if -(2**31) <= cost < 2**31 else 0


@dataclass(frozen=True, slots=True)
class _Worth:
    """What makes a pod dearer or cheaper than another; `stage` counts before all else."""

    stage: tuple[Any, ...]
    ready_since: float | None
    restarts: tuple[int, int]
    created: float
    uid: str


def cheapest_first(pods: Sequence[Object], related: Iterable[Object], now: float) -> list[Object]:
    """In the order in which to delete. `related`: the active pods of the same family, which should stay spread.

    Ages count on a logarithmic scale, so that a scale-down does not always hit the same generation of pods.
    """
    on_node = Counter(node_of(p) for p in related if is_active(p) and node_of(p))

    def stage(pod: Object) -> tuple[Any, ...]:
        return deletion_cost(pod), -on_node[node_of(pod)] if node_of(pod) else 0

    return _sorted(pods, stage, now)


def least_advanced_first(pods: Sequence[Object]) -> list[Object]:
    """In the order in which a Job gives up its pods: of those at the same stage, the newest first."""
    return _sorted(pods, lambda pod: (), None)


def _sorted(
    pods: Sequence[Object], more: Callable[[Object], tuple[Any, ...]], now: float | None
) -> list[Object]:
    def compare(a: tuple[_Worth, Object], b: tuple[_Worth, Object]) -> int:
        return _compare(a[0], b[0], now)

    worths = [(_worth(pod, more(pod)), pod) for pod in pods]
    return [pod for _, pod in sorted(worths, key=cmp_to_key(compare))]


def _worth(pod: Object, more: tuple[Any, ...]) -> _Worth:
    meta = pod["metadata"]
    return _Worth(
        (bool(node_of(pod)), _PHASE_RANK.get(phase_of(pod), 0), is_ready(pod), *more),
        ready_since(pod),
        restart_counts(pod),
        parse_time(meta.get("creationTimestamp")) or 0.0,
        meta.get("uid", ""),
    )


def _compare(a: _Worth, b: _Worth, now: float | None) -> int:
    if a.stage != b.stage:
        return -1 if a.stage < b.stage else 1
    if a.ready_since is not None and b.ready_since is not None and a.ready_since != b.ready_since:
        return _by_age(a, b, a.ready_since, b.ready_since, now)
    if a.restarts != b.restarts:
        return -1 if a.restarts > b.restarts else 1
    if a.created != b.created:
        return _by_age(a, b, a.created, b.created, now)
    return 0


def _by_age(a: _Worth, b: _Worth, since_a: float, since_b: float, now: float | None) -> int:
    """The newer first, and before it one whose age nobody knows; among about equally old ones, whoever."""
    if now is None or not since_a or not since_b:
        return -1 if not since_a or (since_b and since_a > since_b) else 1
    rank_a, rank_b = _age_rank(now - since_a), _age_rank(now - since_b)
    if rank_a != rank_b:
        return -1 if rank_a < rank_b else 1
    return -1 if a.uid < b.uid else 1


def _age_rank(age: float) -> int:
    return int(math.log2(age * 1e9)) if age > 0 else -1

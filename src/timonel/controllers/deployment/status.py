"""The status of a Deployment: counts, and the conditions Available, Progressing and ReplicaFailure.

Upstream: pkg/controller/deployment/sync.go (calculateStatus), progress.go, util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from timonel.control.actions import Status
from timonel.controllers.deployment import sizes
from timonel.controllers.deployment.replicasets import NO_LIMIT
from timonel.objects import conditions
from timonel.objects.conditions import Condition
from timonel.objects.meta import Object, format_time, parse_time

TIMED_OUT = "ProgressDeadlineExceeded"
NEW_AVAILABLE = "NewReplicaSetAvailable"
PAUSED = "DeploymentPaused"


def condition(type_: str, status: str, reason: str, message: str, now: float) -> Condition:
    return conditions.make(type_, status, reason, message, now, lastUpdateTime=format_time(now))


def has_deadline(deployment: Object) -> bool:
    return bool(deployment["spec"].get("progressDeadlineSeconds", NO_LIMIT) != NO_LIMIT)


def counted(deployment: Object, new: Object | None, sets: Sequence[Object], now: float) -> Status:
    """Everything but progress."""
    available = sum(sizes.status_count(rs, "availableReplicas") for rs in sets)
    counts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": sizes.actual_replicas(sets),
        "updatedReplicas": sizes.status_count(new, "replicas") if new is not None else 0,
        "readyReplicas": sum(sizes.status_count(rs, "readyReplicas") for rs in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sizes.total_replicas(sets) - available),
    }
    status: Status = {k: v for k, v in counts.items() if v}
    leaving = [(rs.get("status") or {}).get("terminatingReplicas") for rs in sets]
    if None not in leaving:
        status["terminatingReplicas"] = sum(leaving)
    old = deployment.get("status") or {}
    if "collisionCount" in old:
        status["collisionCount"] = old["collisionCount"]
    if available >= sizes.min_available(deployment):
        verdict = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        verdict = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status["conditions"] = conditions.put(old.get("conditions"), condition("Available", *verdict, now))
    return status


def paused_or_resumed(deployment: Object, kept: list[Condition], now: float) -> list[Condition]:
    """A pause stops the progress clock and a resume starts it anew; a verdict that was passed stands."""
    progress = conditions.find(kept, "Progressing")
    reason = progress.get("reason") if progress is not None else None
    if not has_deadline(deployment) or reason == TIMED_OUT:
        return kept
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason != PAUSED:
        return conditions.put(kept, condition("Progressing", "Unknown", PAUSED, "Deployment is paused", now))
    if not paused and reason == PAUSED:
        return conditions.put(
            kept, condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
        )
    return kept


def is_complete(deployment: Object, status: Status) -> bool:
    wanted = sizes.replicas_of(deployment)
    counts = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    observed = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return observed and all(n == wanted for n in counts)


def with_progress(
    deployment: Object, status: Status, new: Object | None, sets: Sequence[Object], now: float
) -> Status:
    kept: list[Condition] = status["conditions"]
    before = conditions.find(kept, "Progressing")
    if not has_deadline(deployment):
        kept = conditions.drop(kept, "Progressing")
    elif not _was_complete(status, before):
        kept = _judged(deployment, {**status, "conditions": kept}, new, before, now)
    failure = _replica_failure(new, sets)
    if failure is not None:
        kept = conditions.put(kept, failure)
    else:
        kept = conditions.drop(kept, "ReplicaFailure")
    return {**status, "conditions": kept}


def _was_complete(status: Status, progress: Condition | None) -> bool:
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    return settled and progress is not None and progress.get("reason") == NEW_AVAILABLE


def _judged(
    deployment: Object, status: Status, new: Object | None, before: Condition | None, now: float
) -> list[Condition]:
    kept: list[Condition] = status["conditions"]
    who = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else ""
    who = who or f'Deployment "{deployment["metadata"]["name"]}"'
    if is_complete(deployment, status):
        done = condition("Progressing", "True", NEW_AVAILABLE, f"{who} has successfully progressed.", now)
        return conditions.put(kept, done)
    if _is_moving(deployment.get("status") or {}, status):
        moving = condition("Progressing", "True", "ReplicaSetUpdated", f"{who} is progressing.", now)
        # lastUpdateTime must move with every step: the deadline counts from it.
        return conditions.put(kept, moving, keep_same=False)
    if _is_late(deployment, before, now):
        late = condition("Progressing", "False", TIMED_OUT, f"{who} has timed out progressing.", now)
        return conditions.put(kept, late)
    return kept


def _is_moving(old: Status, new: Status) -> bool:
    def outdated(status: Status) -> int:
        count: int = status.get("replicas", 0) - status.get("updatedReplicas", 0)
        return count

    more = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return outdated(new) < outdated(old) or any(new.get(n, 0) > old.get(n, 0) for n in more)


def _is_late(deployment: Object, progress: Condition | None, now: float) -> bool:
    if progress is None or progress.get("reason") == NEW_AVAILABLE:
        return False
    if progress.get("reason") == TIMED_OUT:
        return True
    since = parse_time(progress.get("lastUpdateTime")) or 0.0
    late: bool = since + deployment["spec"]["progressDeadlineSeconds"] < now
    return late


def seconds_to_deadline(deployment: Object, now: float) -> float | None:
    """When to look whether the rollout is stuck; None when it cannot be."""
    stored = deployment.get("status") or {}
    progress = conditions.find(stored.get("conditions"), "Progressing")
    if not has_deadline(deployment) or progress is None or deployment["spec"].get("paused"):
        return None
    if progress.get("reason") in (TIMED_OUT, NEW_AVAILABLE) or is_complete(deployment, stored):
        return None
    since = parse_time(progress.get("lastUpdateTime")) or 0.0
    deadline: float = since + deployment["spec"]["progressDeadlineSeconds"]
    return max(0.0, deadline - now) + 1.0


def _replica_failure(new: Object | None, sets: Iterable[Object]) -> Condition | None:
    for rs in [*([new] if new is not None else []), *sets]:
        found = conditions.find((rs.get("status") or {}).get("conditions"), "ReplicaFailure")
        if found is not None:
            copied: dict[str, Any] = {k: v for k, v in found.items() if v}
            return {**copied, "lastUpdateTime": found.get("lastTransitionTime")}
    return None

"""A change of spec.replicas (or a paused Deployment): resize what exists, start no rollout.

Upstream: pkg/controller/deployment/sync.go (isScalingEvent, scale).
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.control.actions import Action
from timonel.controllers.deployment import replicasets, sizes
from timonel.objects.meta import Object


def is_scaling(deployment: Object, sets: Sequence[Object]) -> bool:
    """Some active set was last scaled for another number of replicas."""
    wanted = sizes.replicas_of(deployment)
    noted = (sizes.annotated(rs, sizes.DESIRED_REPLICAS) for rs in replicasets.active(sets))
    return any(n is not None and n != wanted for n in noted)


def scale(deployment: Object, new: Object | None, old: Sequence[Object]) -> list[Action]:
    wanted = sizes.replicas_of(deployment)
    single = _active_or_latest(new, old)
    if single is not None:
        # Differs from upstream: the annotations are renewed even when the size is right already, so that a set
        # resized by hand cannot keep the Deployment in this branch.
        return replicasets.resize(deployment, single, wanted)
    if new is not None and _is_saturated(deployment, new):
        drained = [a for rs in replicasets.active(old) for a in replicasets.resize(deployment, rs, 0)]
        return [*drained, *replicasets.resize(deployment, new, wanted)]
    if not sizes.is_rolling(deployment):
        # Differs from upstream, which waits here for ever when the strategy became Recreate in mid-rollout.
        paused = deployment["spec"].get("paused")
        return (
            []
            if paused
            else [a for rs in replicasets.active(old) for a in replicasets.resize(deployment, rs, 0)]
        )
    active = replicasets.active([*old, *([new] if new is not None else [])])
    plan = sizes.proportional(deployment, active)
    return [a for rs in active for a in replicasets.resize(deployment, rs, plan[rs["metadata"]["name"]])]


def _active_or_latest(new: Object | None, old: Sequence[Object]) -> Object | None:
    everyone = [*old, *([new] if new is not None else [])]
    active = replicasets.active(everyone)
    if len(active) == 1:
        return active[0]
    if active:
        return None
    return new if new is not None else next(reversed(sizes.oldest_first(old)), None)


def _is_saturated(deployment: Object, new: Object) -> bool:
    wanted = sizes.replicas_of(deployment)
    return (
        sizes.replicas_of(new) == wanted
        and sizes.annotated(new, sizes.DESIRED_REPLICAS) == wanted
        and sizes.status_count(new, "availableReplicas") == wanted
    )

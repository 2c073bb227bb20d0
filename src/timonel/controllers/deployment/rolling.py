"""RollingUpdate: grow the new ReplicaSet within the surge, then shrink the old ones as far as availability allows.

Upstream: pkg/controller/deployment/rolling.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.control.actions import Action
from timonel.controllers.deployment import replicasets, sizes
from timonel.objects.meta import Object


def step(deployment: Object, new: Object, old: Sequence[Object]) -> list[Action]:
    """Up or down, never both in one pass: what the first step did must show before the next is decided."""
    return _grow_new(deployment, new, old) or _shrink_old(deployment, new, replicasets.active(old))


def _grow_new(deployment: Object, new: Object, old: Sequence[Object]) -> list[Action]:
    wanted, current = sizes.replicas_of(deployment), sizes.replicas_of(new)
    if current == wanted:
        return []
    if current > wanted:
        return replicasets.resize(deployment, new, wanted)
    size = sizes.new_set_size(deployment, [*old, new], current)
    return replicasets.resize(deployment, new, size) if size != current else []


def _shrink_old(deployment: Object, new: Object, old: Sequence[Object]) -> list[Action]:
    if not old:
        return []
    floor = sizes.min_available(deployment)
    starting = sizes.replicas_of(new) - sizes.status_count(new, "availableReplicas")
    budget = sizes.total_replicas([*old, new]) - floor - starting
    if budget <= 0:
        return []
    actions: list[Action] = []
    # Pods that are not available cost nothing to lose, so they go first, whatever the floor says.
    left: list[Object] = []
    for rs in sizes.oldest_first(old):
        broken = max(0, sizes.replicas_of(rs) - sizes.status_count(rs, "availableReplicas"))
        size = sizes.replicas_of(rs) - min(budget, broken)
        budget -= sizes.replicas_of(rs) - size
        actions += replicasets.resize(deployment, rs, size) if size != sizes.replicas_of(rs) else []
        left.append({**rs, "spec": {**rs["spec"], "replicas": size}})
    spare = sum(sizes.status_count(rs, "availableReplicas") for rs in [*left, new]) - floor
    for rs in left:
        down = min(sizes.replicas_of(rs), max(0, spare))
        if down:
            spare -= down
            actions += replicasets.resize(deployment, rs, sizes.replicas_of(rs) - down)
    return actions

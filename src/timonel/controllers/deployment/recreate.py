"""Recreate: first all old pods go, then the new ReplicaSet comes.

Upstream: pkg/controller/deployment/recreate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timonel.control.actions import Action
from timonel.controllers.deployment import replicasets, sizes
from timonel.objects import pods
from timonel.objects.meta import Object


def drain(deployment: Object, old: Sequence[Object]) -> list[Action]:
    return [a for rs in replicasets.active(old) for a in replicasets.resize(deployment, rs, 0)]


def is_clear(new: Object | None, old: Sequence[Object], by_set: Mapping[str, Sequence[Object]]) -> bool:
    """No pod of an old set is left. `by_set`: pods by the uid of their ReplicaSet."""
    if sizes.actual_replicas(old) > 0:
        return False
    mine = new["metadata"]["uid"] if new is not None else ""
    return all(pods.is_terminal(p) for uid, group in by_set.items() if uid != mine for p in group)

"""How many pods a ReplicaSet or a ReplicationController lacks or must lose, and the status it reports.

Upstream: pkg/controller/replicaset/replica_set.go, replica_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timonel.machinery import selectors
from timonel.objects import conditions, pods
from timonel.objects.meta import Object, is_deleting, labels_of, nested
from timonel.records import dataclass

# Upper bound on pods created or deleted in one pass, so that one huge set cannot starve the rest.
BURST_REPLICAS = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """How many pods to create, and which to delete: never both."""

    missing: int = 0
    doomed: tuple[Object, ...] = ()


def difference(desired: Object, owned: Sequence[Object], related: Sequence[Object], now: float) -> Difference:
    """`related`: pods of the family (the old and new ReplicaSets of one Deployment) that scaling keeps spread."""
    if is_deleting(desired):
        return Difference()
    active = [p for p in owned if pods.is_active(p)]
    missing = desired["spec"].get("replicas", 1) - len(active)
    if missing >= 0:
        return Difference(min(missing, BURST_REPLICAS))
    surplus = min(-missing, BURST_REPLICAS)
    if surplus == len(active):
        return Difference(0, tuple(active))
    return Difference(0, tuple(pods.cheapest_first(active, related, now)[:surplus]))


def status(
    desired: Object, owned: Sequence[Object], now: float, *, failure: str = "", message: str = ""
) -> dict[str, Any]:
    """`failure` is FailedCreate or FailedDelete when the last pass failed."""
    active = [p for p in owned if pods.is_active(p)]
    min_ready = desired["spec"].get("minReadySeconds", 0)
    template = selectors.from_map(nested(desired, "spec", "template", "metadata", "labels") or {})
    ready = [p for p in active if pods.is_ready(p)]
    counts = {
        "fullyLabeledReplicas": sum(template.matches(labels_of(p)) for p in active),
        "readyReplicas": len(ready),
        "availableReplicas": sum(pods.is_available(p, min_ready, now) for p in ready),
    }
    new: dict[str, Any] = {"replicas": len(active), **{k: v for k, v in counts.items() if v}}
    if desired["kind"] == "ReplicaSet":
        new["terminatingReplicas"] = sum(map(pods.is_terminating, owned))
    new["observedGeneration"] = desired["metadata"].get("generation", 0)
    kept = (desired.get("status") or {}).get("conditions") or []
    if not failure:
        kept = conditions.drop(kept, "ReplicaFailure")
    elif conditions.find(kept, "ReplicaFailure") is None:
        kept = conditions.put(kept, conditions.make("ReplicaFailure", "True", failure, message, now))
    if kept:
        new["conditions"] = kept
    return new

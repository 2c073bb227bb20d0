"""How fast pods may be driven from nodes that do not answer, by what their zone looks like.

One node at a time is normal. Where most of a zone does not answer, the fault is rather in between, so that a large zone
is emptied slowly and a small one not at all; where nobody answers anywhere, it is us who hear nothing.

Upstream: pkg/controller/nodelifecycle/node_lifecycle_controller.go (handleDisruption, ComputeZoneState).
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.objects import nodes
from timonel.objects.meta import Object, labels_of, parse_time
from timonel.records import dataclass

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
PACE, SLOW_PACE = 10.0, 100.0  # seconds from one node of a zone to the next
UNHEALTHY = 0.55  # the fraction of silent nodes that makes a zone disrupted
LARGE = 50  # nodes


@dataclass(frozen=True, slots=True)
class Outlook:
    """`cut_off`: no node answers. `pace` None: nothing more is driven away. `wait`: until it is this node's turn."""

    cut_off: bool = False
    pace: float | None = PACE
    wait: float = 0.0


def zone_of(node: Object) -> tuple[str, str]:
    labels = labels_of(node)
    return labels.get(REGION, ""), labels.get(ZONE, "")


def evicted_at(node: Object) -> float | None:
    """Since when its pods are driven away; None where they are not."""
    keys = (nodes.NOT_READY, nodes.UNREACHABLE)
    taints = [t for t in nodes.taints_of(node) if t["key"] in keys and t["effect"] == "NoExecute"]
    return max((parse_time(t.get("timeAdded")) or 0.0 for t in taints), default=None)


def outlook(node: Object, everyone: Iterable[Object], now: float) -> Outlook:
    """For a node that is not ready."""
    some = list(everyone)
    if not any(map(nodes.is_ready, some)):
        return Outlook(cut_off=True, pace=None)
    here = [other for other in some if zone_of(other) == zone_of(node)]
    silent = [other for other in here if not nodes.is_ready(other)]
    pace: float | None = PACE
    if len(silent) < len(here) and len(silent) > 2 and len(silent) / len(here) >= UNHEALTHY:
        pace = SLOW_PACE if len(here) > LARGE else None
    if pace is None:
        return Outlook(pace=None)
    waiting = sorted((o for o in silent if evicted_at(o) is None), key=_turn)
    before = (
        [o["metadata"]["name"] for o in waiting].index(node["metadata"]["name"]) if node in waiting else 0
    )
    last = max((at for at in map(evicted_at, here) if at is not None), default=float("-inf"))
    return Outlook(pace=pace, wait=before * pace if before else max(0.0, last + pace - now))


def _turn(node: Object) -> tuple[str, str]:
    ready = nodes.condition_of(node, "Ready") or {}
    return str(ready.get("lastTransitionTime") or ""), node["metadata"]["name"]

"""Nodes are told for how long they may remember Secrets and ConfigMaps: the longer, the more nodes there are.

A node that has just come waits for a moment: where many come at once, their number is soon another one.

Watches   nodes
Writes    nodes (the annotation node.alpha.kubernetes.io/ttl)
Upstream  pkg/controller/ttl/ttl_controller.go
"""

from __future__ import annotations

import math

from timonel.control.actions import Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Object, annotations_of, is_deleting, key_of, parse_time, uid_of
from timonel.records import dataclass

RESOURCE = "nodes"
ANNOTATION = "node.alpha.kubernetes.io/ttl"
MOMENT = 5.0
# seconds -> from how many nodes on and up to how many; they overlap, so that one node more or less changes nothing
BOUNDARIES = {0: (0, 100), 15: (90, 500), 30: (450, 1000), 60: (900, 2000), 300: (1800, math.inf)}


@dataclass(frozen=True, slots=True)
class Observed:
    nodes: int
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    return Observed(cache.count(RESOURCE), cache.now())


def wanted(nodes: int, current: str | None) -> int:
    """What a node has stays while it will do."""
    for seconds, (least, most) in BOUNDARIES.items():
        if current == str(seconds) and least <= nodes <= most:
            return seconds
    return next(seconds for seconds, (_, most) in BOUNDARIES.items() if nodes <= most)


def reconcile(desired: Object, observed: Observed) -> Plan:
    current = annotations_of(desired).get(ANNOTATION)
    seconds = wanted(observed.nodes, current)
    if is_deleting(desired) or current == str(seconds):
        return Plan()
    created = parse_time(desired["metadata"].get("creationTimestamp")) or 0.0
    wait = created + MOMENT - observed.now
    if 0 < wait <= MOMENT:
        return Plan((), wait)
    patch = {"metadata": {"annotations": {ANNOTATION: str(seconds)}}}
    return Plan((Patch(RESOURCE, key_of(desired), patch, uid=uid_of(desired), missing_ok=True),))


TTL = ControllerType(name="ttl-controller", watches=(Watch(RESOURCE),), observe=observe, reconcile=reconcile)

"""Pods that nobody else will finish: bound to a node that is gone, deleted before they were bound, or too many ended.

Watches   pods; nodes (one that is gone wakes its pods)
Writes    pods (delete), pods/status (phase Failed, DisruptionTarget)
Upstream  pkg/controller/podgc/gc_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Action, Delete, Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects import conditions, pods
from timonel.objects.indexing import by_node
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested, parse_time, uid_of
from timonel.records import dataclass

# Ended pods to keep in the whole cluster (--terminated-pod-gc-threshold).
TERMINATED_THRESHOLD = 12500
# A node that is missed may come back (its agent registers it again), and a pod may be known before its node is.
QUARANTINE = 40.0


@dataclass(frozen=True, slots=True)
class Observed:
    """`missed_since`: when its node went. `is_surplus`: this ended pod is among the oldest above the threshold."""

    node: Object | None
    missed_since: float
    is_surplus: bool
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    name = pods.node_of(desired)
    node = cache.get("nodes", Key("", name)) if name else None
    missed = cache.gone_since("nodes", Key("", name)) if name and node is None else 0.0
    return Observed(node, missed, pods.is_terminal(desired) and _is_surplus(desired, cache), cache.now())


def _is_surplus(desired: Object, cache: Cache) -> bool:
    everyone = cache.list("pods")
    if len(everyone) <= TERMINATED_THRESHOLD:
        return False
    ended = [p for p in everyone if pods.is_terminal(p) and not is_deleting(p)]
    ended.sort(key=lambda p: (p["metadata"].get("creationTimestamp", ""), uid_of(p)))
    surplus = ended[: max(0, len(ended) - TERMINATED_THRESHOLD)]
    return any(uid_of(p) == uid_of(desired) for p in surplus)


def reconcile(desired: Object, observed: Observed) -> Plan:
    node = pods.node_of(desired)
    if not node and is_deleting(desired):
        return Plan((*_fail(desired), _remove(desired)))
    if node and observed.node is None:
        scheduled = pods.condition_of(desired, "PodScheduled") or {}
        since = parse_time(scheduled.get("lastTransitionTime"))
        since = since or parse_time(desired["metadata"].get("creationTimestamp")) or 0.0
        wait = max(since, observed.missed_since) + QUARANTINE - observed.now
        if wait > 0:
            return Plan((), wait)
        text = "PodGC: node no longer exists"
        mark = conditions.make("DisruptionTarget", "True", "DeletionByPodGC", text, observed.now)
        return Plan((*_fail(desired, mark), _remove(desired)))
    if observed.is_surplus:
        return Plan((_remove(desired),))
    return Plan()


def _fail(desired: Object, mark: conditions.Condition | None = None) -> list[Action]:
    """Its controller must see it end, whether or not the node ever says so."""
    if pods.is_terminal(desired):
        return []
    status: Object = {"phase": "Failed"}
    if mark is not None:
        status["conditions"] = conditions.put(nested(desired, "status", "conditions"), mark)
    patch = {"status": status}
    return [Patch("pods", key_of(desired), patch, subresource="status", uid=uid_of(desired), missing_ok=True)]


def _remove(desired: Object) -> Action:
    return Delete("pods", key_of(desired), uid_of(desired), grace_period=0)


def _pods_of_a_gone_node(node: Object, cache: Cache) -> Iterable[Key]:
    if cache.get("nodes", key_of(node)) is not None:
        return ()
    return [key_of(p) for p in cache.by("pods", by_node, node["metadata"]["name"])]


POD_GARBAGE_COLLECTOR = ControllerType(
    name="pod-garbage-collector",
    watches=(Watch("pods"), Watch("nodes", wakes=_pods_of_a_gone_node)),
    observe=observe,
    reconcile=reconcile,
)

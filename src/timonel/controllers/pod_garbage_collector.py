"""Pods that nobody else will finish: their node is gone or out of service, or they were deleted before they had one.

And of those that have ended, the oldest go when there are too many in the cluster: `SURPLUS` looks at all of them under
one key (the namespace kube-system, which always exists), a while after one has ended.

Watches   pods; nodes (one that is gone or out of service wakes its pods); namespaces (kube-system, as the key)
Writes    pods (delete), pods/status (phase Failed, DisruptionTarget)
Upstream  pkg/controller/podgc/gc_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timonel.control.actions import Action, Delete, Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.objects import conditions, nodes, pods
from timonel.objects.indexing import by_node
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested, parse_time, uid_of
from timonel.records import dataclass

# Ended pods to keep in the whole cluster (--terminated-pod-gc-threshold).
TERMINATED_THRESHOLD = 12500
# A node that is missed may come back (its agent registers it again), and a pod may be known before its node is.
QUARANTINE = 40.0
LOOK_EVERY = 20.0  # seconds, for too many that have ended
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
SINGLETON = Key("", "kube-system")


@dataclass(frozen=True, slots=True)
class Observed:
    """`missed_since`: when its node went."""

    node: Object | None
    missed_since: float
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    name = pods.node_of(desired)
    node = cache.get("nodes", Key("", name)) if name else None
    missed = cache.gone_since("nodes", Key("", name)) if name and node is None else 0.0
    return Observed(node, missed, cache.now())


def is_out_of_service(node: Object) -> bool:
    """Somebody has said so, and the node does not say otherwise."""
    return not nodes.is_ready(node) and any(t["key"] == OUT_OF_SERVICE for t in nodes.taints_of(node))


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
    if observed.node is not None and is_deleting(desired) and is_out_of_service(observed.node):
        return Plan((*_fail(desired), _remove(desired)))
    return Plan()


def by_end(pod: Object) -> Iterable[bool]:
    return (True,) if pods.is_terminal(pod) else ()


def ended(desired: Object, cache: Cache) -> Sequence[Object]:
    return cache.by("pods", by_end, True)


def surplus(desired: Object, some: Sequence[Object]) -> Plan:
    """Those that were evicted first, then the oldest."""
    too_many = len(some) - TERMINATED_THRESHOLD
    if too_many <= 0:
        return Plan()
    order = sorted(
        some,
        key=lambda p: (
            nested(p, "status", "reason") != "Evicted",
            p["metadata"].get("creationTimestamp", ""),
            p["metadata"]["name"],
        ),
    )
    return Plan(tuple(_remove(pod) for pod in order[:too_many]))


def _fail(desired: Object, mark: conditions.Condition | None = None) -> list[Action]:
    """Its controller must see it end, whether or not the node ever says so."""
    if pods.is_terminal(desired):
        return []
    patch: Object = {"status": {}}
    if mark is not None:
        patch = conditions.patch(nested(desired, "status", "conditions"), mark)
    patch["status"]["phase"] = "Failed"
    key, uid = key_of(desired), uid_of(desired)
    return [Patch("pods", key, patch, kind="strategic", subresource="status", uid=uid, missing_ok=True)]


def _remove(desired: Object) -> Action:
    return Delete("pods", key_of(desired), uid_of(desired), grace_period=0)


def _its_pods_if_left(node: Object, cache: Cache) -> Iterable[Key]:
    """Where nobody runs them any more."""
    there = cache.get("nodes", key_of(node))
    if there is not None and not is_out_of_service(there):
        return ()
    return [key_of(p) for p in cache.by("pods", by_node, node["metadata"]["name"])]


def _if_left(pod: Object, cache: Cache) -> Iterable[Key]:
    """Most pods are on nodes that are there: of those nobody need think each time they change."""
    node = pods.node_of(pod)
    there = cache.get("nodes", Key("", node)) if node else None
    is_left = is_out_of_service(there) if there is not None else bool(node) or is_deleting(pod)
    return (key_of(pod),) if is_left else ()


def _if_too_many(pod: Object, cache: Cache) -> Iterable[Key]:
    has_ended = pods.is_terminal(pod) and cache.count("pods") > TERMINATED_THRESHOLD
    return (SINGLETON,) if has_ended else ()


FORSAKEN = ControllerType(
    name="pod-garbage-collector",
    watches=(Watch("pods", wakes=_if_left), Watch("nodes", wakes=_its_pods_if_left)),
    observe=observe,
    reconcile=reconcile,
)
SURPLUS = ControllerType(
    name="pod-garbage-collector",
    watches=(Watch("namespaces", wakes=nobody), Watch("pods", wakes=_if_too_many, delay=LOOK_EVERY)),
    observe=ended,
    reconcile=surplus,
    workers=1,
)
POD_GARBAGE_COLLECTOR = (FORSAKEN, SURPLUS)

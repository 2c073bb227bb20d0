"""Pods leave nodes whose NoExecute taints they do not tolerate, at once or after tolerationSeconds.

Watches   pods; nodes (whose taints of this kind changed: wake the pods there)
Writes    pods (delete), pods/status (DisruptionTarget)
Upstream  pkg/controller/tainteviction/taint_eviction.go
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from timonel.control.actions import Delete, Outcome, Patch, Plan, Record
from timonel.control.declare import Cache, ControllerType, Memory, Watch
from timonel.objects import conditions, nodes, pods
from timonel.objects.indexing import by_node
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested, parse_time, uid_of
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Observed:
    """`waits`: whether the last pass had set a time."""

    node: Object | None
    now: float
    waits: bool = False


def observe(desired: Object, cache: Cache) -> Observed:
    name = pods.node_of(desired)
    return Observed(cache.get("nodes", Key("", name)) if name else None, cache.now())


def _executing(node: Object) -> list[nodes.Taint]:
    return [t for t in nodes.taints_of(node) if t["effect"] == "NoExecute"]


def leaves_at(desired: Object, node: Object, now: float) -> float | None:
    """When the pod must go; None: never."""
    tolerations = nested(desired, "spec", "tolerations") or ()
    ends: list[float] = []
    for taint in _executing(node):
        matching = [t for t in tolerations if nodes.tolerates(t, taint)]
        if not matching:
            return now
        since = parse_time(taint.get("timeAdded")) or now
        limits = [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
        if limits:
            ends.append(since + max(0, min(limits)))
    return min(ends, default=None)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if observed.node is None or is_deleting(desired):
        return Plan()
    end = leaves_at(desired, observed.node, observed.now)
    if end is None:
        text = f"Cancelling deletion of Pod {key_of(desired)}"
        return Plan((Record("Normal", "TaintManagerEviction", text),) if observed.waits else ())
    if end > observed.now:
        return Plan((), end - observed.now)
    text = "Taint manager: deleting due to NoExecute taint"
    mark = conditions.make("DisruptionTarget", "True", "DeletionByTaintManager", text, observed.now)
    patch = conditions.patch(nested(desired, "status", "conditions"), mark)
    key, uid = key_of(desired), uid_of(desired)
    return Plan(
        (
            Record("Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}"),
            Patch(
                "pods",
                key,
                patch,
                kind="strategic",
                subresource="status",
                uid=uid,
                missing_ok=True,
            ),
            Delete("pods", key, uid),
        )
    )


def recall(observed: Observed, memory: Any) -> Observed:
    return replace(observed, waits=bool(memory))


def remember(desired: Object, observed: Observed, outcome: Outcome) -> Any:
    return True if outcome.plan.requeue_after is not None else None


def _pods_there(node: Object, cache: Cache) -> Iterable[Key]:
    return [key_of(p) for p in cache.by("pods", by_node, node["metadata"]["name"])]


TAINT_EVICTION = ControllerType(
    name="taint-eviction-controller",
    watches=(
        Watch("pods"),
        Watch("nodes", wakes=_pods_there, matters=lambda old, new: _executing(old) != _executing(new)),
    ),
    observe=observe,
    reconcile=reconcile,
    memory=Memory(recall, remember),
)

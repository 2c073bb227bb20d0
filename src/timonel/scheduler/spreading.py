"""The constraints of topology spreading that hold for a pod: its own, or the defaults for what a Service or a
controller selects.

Upstream: pkg/scheduler/framework/plugins/podtopologyspread/common.go, plugins/helper/spread.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timonel.machinery.selectors import LabelSelector, from_label_selector
from timonel.objects.meta import Key, Object, controller_of, labels_of
from timonel.records import dataclass
from timonel.scheduler.framework import Reads

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SYSTEM_DEFAULTS = (
    {"topologyKey": HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3},
    {"topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 5},
)
SERVICES, CONTROLLERS = "services", {
    ("v1", "ReplicationController"): "replicationcontrollers",
    ("apps/v1", "ReplicaSet"): "replicasets.apps",
    ("apps/v1", "StatefulSet"): "statefulsets.apps",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Constraint:
    topology_key: str
    max_skew: int
    selector: LabelSelector
    min_domains: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


def constraints_of(
    pod: Object, reads: Reads, when: str, defaults: Sequence[Mapping[str, Any]]
) -> list[Constraint]:
    """Those of one kind (DoNotSchedule, ScheduleAnyway)."""
    own = pod["spec"].get("topologySpreadConstraints")
    if own:
        return [_parsed(c, pod) for c in own if c["whenUnsatisfiable"] == when]
    wanted = [c for c in defaults if c["whenUnsatisfiable"] == when]
    if not wanted:
        return []
    selector = _default_selector(pod, reads)
    if selector is None:
        return []
    return [Constraint(c["topologyKey"], c["maxSkew"], selector) for c in wanted]


def _parsed(constraint: Mapping[str, Any], pod: Object) -> Constraint:
    selector = constraint.get("labelSelector")
    labels = labels_of(pod)
    same = [
        {"key": key, "operator": "In", "values": [labels[key]]}
        for key in constraint.get("matchLabelKeys") or ()
        if key in labels
    ]
    if same and selector is not None:
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *same]}
    return Constraint(
        topology_key=constraint["topologyKey"],
        max_skew=constraint["maxSkew"],
        selector=from_label_selector(selector),
        min_domains=constraint.get("minDomains") or 1,
        honors_affinity=constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
        honors_taints=constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _default_selector(pod: Object, reads: Reads) -> LabelSelector | None:
    """What the Services that select a pod and the controller that owns it have in common."""
    namespace, labels = pod["metadata"].get("namespace", ""), labels_of(pod)
    matched: dict[str, str] = {}
    for service in reads.list(SERVICES, namespace):
        chosen = service["spec"].get("selector")
        if chosen and all(labels.get(k) == v for k, v in chosen.items()):
            matched.update(chosen)
    expressions: list[Any] = []
    owner = controller_of(pod)
    resource = CONTROLLERS.get((owner.get("apiVersion", ""), owner.get("kind", ""))) if owner else None
    if owner is not None and resource is not None:
        found = reads.get(resource, Key(namespace, owner["name"]))
        selector = ((found or {}).get("spec") or {}).get("selector") or {}
        if owner.get("kind") == "ReplicationController":
            matched.update(selector)
        else:
            expressions = [
                *(
                    {"key": k, "operator": "In", "values": [v]}
                    for k, v in (selector.get("matchLabels") or {}).items()
                ),
                *(selector.get("matchExpressions") or ()),
            ]
    if not matched and not expressions:
        return None
    return from_label_selector({"matchLabels": matched, "matchExpressions": expressions})

"""Which nodes a DaemonSet's pod belongs on, and the pod made for a node.

Upstream: pkg/controller/daemon/daemon_controller.go (NodeShouldRunDaemonPod), util/daemonset_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from timonel.objects import nodes, workloads
from timonel.objects.meta import Object, annotations_of, nested

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_TOLERATED = (
    (nodes.NOT_READY, "NoExecute"),
    (nodes.UNREACHABLE, "NoExecute"),
    (nodes.DISK_PRESSURE, "NoSchedule"),
    (nodes.MEMORY_PRESSURE, "NoSchedule"),
    (nodes.PID_PRESSURE, "NoSchedule"),
    (nodes.UNSCHEDULABLE, "NoSchedule"),
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class Verdict(NamedTuple):
    """`run`: a pod should be created; `stay`: one that is there may stay."""

    run: bool
    stay: bool


def tolerations(spec: Object) -> list[nodes.Toleration]:
    """The template's own and those every daemon gets, so that trouble on a node does not drive it away."""
    extra = [{"key": k, "operator": "Exists", "effect": e} for k, e in _TOLERATED]
    if spec.get("hostNetwork"):
        extra.append({"key": nodes.NETWORK_UNAVAILABLE, "operator": "Exists", "effect": "NoSchedule"})
    own: list[nodes.Toleration] = list(spec.get("tolerations") or ())
    merged = [next((x for x in extra if _is_same(t, x)), t) for t in own]
    return [*merged, *(x for x in extra if not any(_is_same(t, x) for t in own))]


def _is_same(a: nodes.Toleration, b: nodes.Toleration) -> bool:
    def identity(t: nodes.Toleration) -> tuple[Any, ...]:
        return t.get("key"), t.get("effect"), t.get("operator"), t.get("value", "")

    return identity(a) == identity(b)


def judge(daemonset: Object, node: Object) -> Verdict:
    spec = daemonset["spec"]["template"]["spec"]
    if spec.get("nodeName") and spec["nodeName"] != node["metadata"]["name"]:
        return Verdict(False, False)
    if not nodes.suits(spec, node):
        return Verdict(False, False)
    taints, tolerated = nodes.taints_of(node), tolerations(spec) if nodes.taints_of(node) else []
    if nodes.untolerated(taints, tolerated, ("NoSchedule", "NoExecute")) is None:
        return Verdict(True, True)
    return Verdict(False, nodes.untolerated(taints, tolerated, ("NoExecute",)) is None)


def template_generation(daemonset: Object) -> str:
    return annotations_of(daemonset).get(TEMPLATE_GENERATION, "")


def pod_for(daemonset: Object, node: str, hashed: str) -> Object:
    """Bound to its node by affinity, so that the scheduler still accounts for it."""
    pod = workloads.pod_from_template(daemonset["spec"]["template"], daemonset)
    labels = pod["metadata"].setdefault("labels", {})
    labels[workloads.CONTROLLER_REVISION_HASH] = hashed
    if template_generation(daemonset):
        labels[GENERATION_LABEL] = template_generation(daemonset)
    spec = pod["spec"]
    spec["tolerations"] = tolerations(spec)
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    # What the template requires of nodes has been judged: it is replaced by the node itself.
    here = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    affinity[_REQUIRED] = {"nodeSelectorTerms": [{"matchFields": here}]}
    return pod


def target_of(pod: Object) -> str:
    """The node a daemon pod is on or meant for."""
    bound = nested(pod, "spec", "nodeName")
    if bound:
        return str(bound)
    required = nested(pod, "spec", "affinity", "nodeAffinity", _REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""


def by_node(daemon_pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Bound ones and then the oldest first per node; one that ended and is being deleted no longer occupies it."""

    def rank(pod: Object) -> tuple[bool, str, str]:
        meta = pod["metadata"]
        return not nested(pod, "spec", "nodeName"), meta.get("creationTimestamp", ""), meta["name"]

    grouped: dict[str, list[Object]] = {}
    for pod in sorted(daemon_pods, key=rank):
        finished = nested(pod, "status", "phase") in ("Succeeded", "Failed")
        if not (finished and pod["metadata"].get("deletionTimestamp")):
            grouped.setdefault(target_of(pod), []).append(pod)
    return grouped

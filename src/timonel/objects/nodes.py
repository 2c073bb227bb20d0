"""Which pods a node suits: node selectors, affinity terms, taints and tolerations; and a node's conditions.

Upstream: component-helpers/scheduling/corev1/helpers.go, nodeaffinity/nodeaffinity.go, api/core/v1/toleration.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from timonel.objects.meta import Object, labels_of, nested

Taint = dict[str, Any]
Toleration = dict[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"


def taints_of(node: Object) -> list[Taint]:
    found: list[Taint] = (node.get("spec") or {}).get("taints") or []
    return found


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    has, wants = taint.get("value", ""), toleration.get("value", "")
    if operator == "Equal":
        return bool(toleration.get("key")) and has == wants
    return operator in ("Gt", "Lt") and _compares(operator, has, wants)


def untolerated(
    taints: Iterable[Taint], tolerations: Sequence[Toleration], effects: Iterable[str]
) -> Taint | None:
    """The first taint of these effects that no toleration covers."""
    return next(
        (t for t in taints if t["effect"] in effects and not any(tolerates(x, t) for x in tolerations)), None
    )


def suits(spec: Mapping[str, Any], node: Object) -> bool:
    """The pod spec's nodeSelector and required node affinity accept the node."""
    labels = labels_of(node)
    if any(labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    required = nested(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or matches_selector(required, node)


def matches_selector(selector: Mapping[str, Any], node: Object) -> bool:
    """A NodeSelector: any of its terms; a term without requirements matches nothing."""
    return any(matches_term(term, node) for term in selector.get("nodeSelectorTerms") or ())


def matches_term(term: Mapping[str, Any], node: Object) -> bool:
    by_label, by_field = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not by_label and not by_field:
        return False
    labels, fields = labels_of(node), {"metadata.name": node["metadata"]["name"]}
    return all(_meets(r, labels) for r in by_label) and all(_meets(r, fields) for r in by_field)


def _meets(requirement: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    operator: str = requirement["operator"]
    wanted: list[str] = requirement.get("values") or []
    has = values.get(requirement["key"])
    if operator == "In":
        return has in wanted
    if operator == "NotIn":
        return has not in wanted
    if operator == "Exists":
        return has is not None
    if operator == "DoesNotExist":
        return has is None
    return has is not None and len(wanted) == 1 and _compares(operator, has, wanted[0])


def _compares(operator: str, has: str, wanted: str) -> bool:
    try:
        return int(has) > int(wanted) if operator == "Gt" else int(has) < int(wanted)
    except ValueError:
        return False


def condition_of(node: Object, type_: str) -> dict[str, Any] | None:
    conditions: list[dict[str, Any]] = (node.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == type_), None)


def is_ready(node: Object) -> bool:
    ready = condition_of(node, "Ready")
    return ready is not None and ready["status"] == "True"

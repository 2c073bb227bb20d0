"""Aggregated ClusterRoles hold the rules of all roles that their selectors match.

Watches   clusterroles.rbac.authorization.k8s.io (each change concerns every aggregated role)
Writes    clusterroles.rbac.authorization.k8s.io (rules)
Upstream  pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from timonel.control.actions import Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.machinery import selectors
from timonel.objects.meta import Key, Object, is_deleting, key_of, labels_of, nested, uid_of

RESOURCE = "clusterroles.rbac.authorization.k8s.io"


def observe(desired: Object, cache: Cache) -> Sequence[Object]:
    return cache.list(RESOURCE) if desired.get("aggregationRule") else ()


def aggregated_rules(desired: Object, roles: Sequence[Object]) -> list[dict[str, Any]]:
    """Role by role in order of names, each rule once."""
    rules: list[dict[str, Any]] = []
    for selector in nested(desired, "aggregationRule", "clusterRoleSelectors") or ():
        matches = selectors.from_label_selector(selector).matches
        for role in sorted(roles, key=lambda r: str(r["metadata"]["name"])):
            if role["metadata"]["name"] != desired["metadata"]["name"] and matches(labels_of(role)):
                rules += [rule for rule in role.get("rules") or () if rule not in rules]
    return rules


def reconcile(desired: Object, roles: Sequence[Object]) -> Plan:
    if not desired.get("aggregationRule") or is_deleting(desired):
        return Plan()
    rules = aggregated_rules(desired, roles)
    if rules == (desired.get("rules") or []):
        return Plan()
    return Plan((Patch(RESOURCE, key_of(desired), {"rules": rules}, uid=uid_of(desired)),))


def _aggregated(role: Object, cache: Cache) -> Iterable[Key]:
    return [key_of(r) for r in cache.list(RESOURCE) if r.get("aggregationRule")]


CLUSTERROLE_AGGREGATION = ControllerType(
    name="clusterrole-aggregation-controller",
    watches=(Watch(RESOURCE, wakes=_aggregated),),
    observe=observe,
    reconcile=reconcile,
)

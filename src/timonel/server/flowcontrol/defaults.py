"""The flow schemas and priority levels that every cluster has, as data.

Mandatory ones are kept as they are; suggested ones follow their annotation `apf.kubernetes.io/autoupdate-spec`.

Upstream: apiserver/pkg/apis/flowcontrol/bootstrap/default.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from timonel.objects.meta import Object
from timonel.records import dataclass

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
SCHEMAS = "flowschemas.flowcontrol.apiserver.k8s.io"
LEVELS = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io"
EXEMPT, CATCH_ALL = "exempt", "catch-all"
BY_USER, BY_NAMESPACE = "ByUser", "ByNamespace"

_ANY = ["*"]
_EVERYTHING = {
    "resourceRules": [
        {"verbs": _ANY, "apiGroups": _ANY, "resources": _ANY, "clusterScope": True, "namespaces": _ANY}
    ],
    "nonResourceRules": [{"verbs": _ANY, "nonResourceURLs": _ANY}],
}
_LEASES = {
    "verbs": ["get", "create", "update"],
    "apiGroups": ["coordination.k8s.io"],
    "resources": ["leases"],
    "namespaces": _ANY,
}


@dataclass(frozen=True, slots=True)
class Default:
    """`mandatory`: the server puts it back whatever anybody writes there."""

    resource: str
    name: str
    spec: Mapping[str, Any]
    mandatory: bool = False

    def obj(self) -> Object:
        return {"metadata": {"name": self.name, "annotations": {AUTOUPDATE: "true"}}, "spec": dict(self.spec)}


def _limited(
    name: str, shares: int, lendable: int, queues: int = 0, hand: int = 0, *, mandatory: bool = False
) -> Default:
    response: dict[str, Any] = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": 50}
        response = {"type": "Queue", "queuing": queuing}
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": response,
    }
    return Default(LEVELS, name, {"type": "Limited", "limited": limited}, mandatory)


def _groups(*names: str) -> list[Object]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Object]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _kube_system(*names: str) -> list[Object]:
    return [
        {"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}}
        for name in names
    ]


def _schema(
    name: str,
    level: str,
    precedence: int,
    method: str,
    subjects: Iterable[Object],
    rules: Mapping[str, Any] = _EVERYTHING,
    *,
    mandatory: bool = False,
) -> Default:
    spec: dict[str, Any] = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": list(subjects), **rules}],
    }
    if method:
        spec["distinguisherMethod"] = {"type": method}
    return Default(SCHEMAS, name, spec, mandatory)


_ANYBODY = ("system:unauthenticated", "system:authenticated")
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"

PRIORITY_LEVELS = (
    Default(
        LEVELS,
        EXEMPT,
        {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
        mandatory=True,
    ),
    _limited(CATCH_ALL, 5, 0, mandatory=True),
    _limited("system", 30, 33, 64, 6),
    _limited("node-high", 40, 25, 64, 6),
    _limited("leader-election", 10, 0, 16, 4),
    _limited("workload-high", 40, 50, 128, 6),
    _limited("workload-low", 100, 90, 128, 6),
    _limited("global-default", 20, 50, 128, 6),
)

FLOW_SCHEMAS = (
    _schema(EXEMPT, EXEMPT, 1, "", _groups("system:masters"), mandatory=True),
    _schema(CATCH_ALL, CATCH_ALL, 10000, BY_USER, _groups(*_ANYBODY), mandatory=True),
    _schema(
        "probes",
        EXEMPT,
        2,
        "",
        _groups(*_ANYBODY),
        {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]},
    ),
    _schema(
        "system-leader-election",
        "leader-election",
        100,
        BY_USER,
        (*_users(_MANAGER, _SCHEDULER), *_kube_system("*")),
        {"resourceRules": [_LEASES]},
    ),
    _schema(
        "endpoint-controller",
        "workload-high",
        150,
        BY_USER,
        (*_users(_MANAGER), *_kube_system("endpoint-controller", "endpointslicemirroring-controller")),
        {
            "resourceRules": [
                {
                    "verbs": ["get", "create", "update"],
                    "apiGroups": [""],
                    "resources": ["endpoints"],
                    "namespaces": _ANY,
                }
            ]
        },
    ),
    _schema(
        "workload-leader-election",
        "leader-election",
        200,
        BY_USER,
        _kube_system("*"),
        {"resourceRules": [_LEASES]},
    ),
    _schema(
        "system-node-high",
        "node-high",
        400,
        BY_USER,
        _groups("system:nodes"),
        {
            "resourceRules": [
                {
                    "verbs": _ANY,
                    "apiGroups": [""],
                    "resources": ["nodes", "nodes/status"],
                    "clusterScope": True,
                    "namespaces": _ANY,
                },
                {
                    "verbs": _ANY,
                    "apiGroups": ["coordination.k8s.io"],
                    "resources": ["leases"],
                    "namespaces": _ANY,
                },
            ]
        },
    ),
    _schema("system-nodes", "system", 500, BY_USER, _groups("system:nodes")),
    _schema("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, _users(_MANAGER)),
    _schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, _users(_SCHEDULER)),
    _schema("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, _kube_system("*")),
    _schema("service-accounts", "workload-low", 9000, BY_USER, _groups("system:serviceaccounts")),
    _schema("global-default", "global-default", 9900, BY_USER, _groups(*_ANYBODY)),
)

DEFAULTS = (*PRIORITY_LEVELS, *FLOW_SCHEMAS)

"""Under which keys objects are stored: as upstream stores them, so that either server finds the other's.

    /pods/NAMESPACE/NAME                     built-in kinds: the plural, or the special path below
    /GROUP/PLURAL/NAMESPACE/NAME             custom resources, and the kinds of apiextensions and apiregistration

In etcd all of it lies below a root, `/registry` unless another one is asked for. Clusters of earlier versions, which
named the group of every kind, are moved when they are opened (`moved`).

Upstream: pkg/kubeapiserver/default_storage_factory_builder.go, test/integration/etcd/data.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.apis.resource import ResourceType

ROOT = "/registry"
SPECIAL = {
    "replicationcontrollers": "controllers",
    "endpoints": "services/endpoints",
    "services": "services/specs",
    "nodes": "minions",
    "ingresses.networking.k8s.io": "ingress",
}
OWN_FOLDER = frozenset(("apiextensions.k8s.io", "apiregistration.k8s.io"))
UNDOTTED = frozenset(("", "apps", "batch", "autoscaling", "policy", "extensions"))


KNOWN = frozenset(
    f"{name}.k8s.io"
    for name in (
        "admissionregistration", "authentication", "authorization", "certificates", "coordination", "discovery",
        "events", "flowcontrol.apiserver", "internal.apiserver", "networking", "node", "rbac.authorization",
        "resource", "scheduling", "storage", "storagemigration",
    )
)  # fmt: skip


def prefix_of(rtype: ResourceType) -> str:
    """What the keys of a resource begin with; it ends with a slash."""
    special = SPECIAL.get(rtype.qualified)
    if special is not None:
        return f"/{special}/"
    return f"/{rtype.plural}/" if shares_root(rtype.group) else f"/{rtype.group}/{rtype.plural}/"


def shares_root(group: str) -> bool:
    """Groups of the API server itself; their plurals are known and never meet."""
    return group in UNDOTTED or (group in KNOWN and group not in OWN_FOLDER)


def moved(resources: Iterable[ResourceType]) -> dict[str, str]:
    """The prefixes of earlier versions, with what they are now; for those that are others."""
    prefixes = {f"/{rtype.qualified}/": prefix_of(rtype) for rtype in resources}
    return {old: new for old, new in prefixes.items() if old != new}


def head_of(key: str, depth: int) -> str:
    """The first `depth` parts of a key, with the slash that ends them."""
    at = 0
    for _ in range(depth):
        at = key.find("/", at + 1)
        if at < 0:
            return ""
    return key[: at + 1]

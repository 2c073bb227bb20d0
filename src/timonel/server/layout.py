"""Under which keys objects are stored: as upstream stores them, so that either server finds the other's.

    /pods/NAMESPACE/NAME                     built-in kinds: the plural, or the special path below
    /GROUP/PLURAL/NAMESPACE/NAME             custom resources, and the kinds of apiextensions and apiregistration

In etcd all of it lies below a root, `/registry` unless another one is asked for. Clusters of earlier versions, which
named the group of every kind, are moved when they are opened (`moved`).

Upstream: pkg/kubeapiserver/default_storage_factory_builder.go, test/integration/etcd/data.go.
"""

from __future__ import annotations

from timonel.apis.resource import ResourceType

ROOT = "/registry"
SPECIAL = {
    ("replicationcontrollers", ""): "controllers",
    ("endpoints", ""): "services/endpoints",
    ("services", ""): "services/specs",
    ("nodes", ""): "minions",
    ("ingresses", "networking.k8s.io"): "ingress",
}
# Their plurals are known and never meet.
BUILT_IN = frozenset(("", "apps", "autoscaling", "batch", "extensions", "policy")) | {
    f"{name}.k8s.io"
    for name in (
        "admissionregistration", "authentication", "authorization", "certificates", "coordination", "discovery",
        "events", "flowcontrol.apiserver", "internal.apiserver", "networking", "node", "rbac.authorization",
        "resource", "scheduling", "storage", "storagemigration",
    )
}  # fmt: skip


def prefix_of(rtype: ResourceType) -> str:
    """What the keys of a resource begin with; it ends with a slash."""
    return prefix(rtype.plural, rtype.group)


def prefix(plural: str, group: str) -> str:
    special = SPECIAL.get((plural, group))
    if special is not None:
        return f"/{special}/"
    return f"/{plural}/" if group in BUILT_IN else f"/{group}/{plural}/"


def moved(key: str) -> str:
    """What a key of an earlier version is called now: those named every resource `PLURAL.GROUP`."""
    _, qualified, rest = key.split("/", 2)
    plural, _, group = qualified.partition(".")
    return prefix(plural, group) + rest


def head_of(key: str, depth: int) -> str:
    """The first `depth` parts of a key, with the slash that ends them."""
    at = 0
    for _ in range(depth):
        at = key.find("/", at + 1)
        if at < 0:
            return ""
    return key[: at + 1]

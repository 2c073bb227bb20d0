"""Retired versions that have the form of the version that took over."""

from __future__ import annotations

from timonel.apis import legacyingress
from timonel.apis.coordination import LEASE
from timonel.apis.networking import INGRESS, INGRESS_CLASS
from timonel.apis.networkpolicies import NETWORK_POLICY
from timonel.apis.node import RUNTIME_CLASS
from timonel.apis.rbac import RESOURCES as RBAC
from timonel.apis.retired.version import nothing, retired
from timonel.apis.scheduling import PRIORITY_CLASS
from timonel.apis.storage import (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
)

_STORAGE = "storage.k8s.io/v1beta1"

RESOURCES = (
    retired(NETWORK_POLICY, "extensions/v1beta1", "1.9", "1.16"),
    retired(
        INGRESS,
        "extensions/v1beta1",
        "1.14",
        "1.22",
        default=nothing,
        to_stored=legacyingress.to_v1,
        from_stored=legacyingress.to_v1beta1,
    ),
    retired(INGRESS_CLASS, "networking.k8s.io/v1beta1", "1.19", "1.22"),
    *(retired(current, "rbac.authorization.k8s.io/v1beta1", "1.17", "1.22") for current in RBAC),
    *(retired(c, _STORAGE, "1.19", "1.22") for c in (STORAGE_CLASS, VOLUME_ATTACHMENT, CSI_DRIVER)),
    retired(CSI_NODE, _STORAGE, "1.17", "1.22"),
    retired(CSI_STORAGE_CAPACITY, _STORAGE, "1.24", "1.27"),
    retired(PRIORITY_CLASS, "scheduling.k8s.io/v1beta1", "1.14", "1.22"),
    retired(LEASE, "coordination.k8s.io/v1beta1", "1.19", "1.22"),
    retired(RUNTIME_CLASS, "node.k8s.io/v1beta1", "1.22", "1.25"),
)

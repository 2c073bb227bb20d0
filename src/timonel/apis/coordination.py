"""coordination.k8s.io/v1: Lease."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

LEASE = ResourceType(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    create_on_update=True,
)

RESOURCES = (LEASE,)

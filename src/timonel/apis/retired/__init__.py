"""Versions that upstream stopped serving and old manifests and charts still carry.

Each is accepted with upstream's deprecation warning, defaulted as it was, and kept in the form of the version that took
over (`timonel.apis.resource.Retired`); reads of the old version convert back. A server leaves them all out when
`legacy_apis` is off. Types that differ are in `timonel.schema.retired`.

The v1beta1 forms of Ingress and CronJob are beside their kinds (`networking`, `batch`).

Upstream: the table of https://kubernetes.io/docs/reference/using-api/deprecation-guide/ and the lifecycle tags of
k8s.io/api.
"""

from __future__ import annotations

# (group, module); a group may have several
GROUPS: tuple[tuple[str, str], ...] = (
    ("apps", "timonel.apis.retired.workloads"),
    ("extensions", "timonel.apis.retired.workloads"),
    ("autoscaling", "timonel.apis.retired.autoscaling"),
    ("policy", "timonel.apis.retired.disruption"),
    ("extensions", "timonel.apis.retired.same"),
    ("networking.k8s.io", "timonel.apis.retired.same"),
    ("rbac.authorization.k8s.io", "timonel.apis.retired.same"),
    ("storage.k8s.io", "timonel.apis.retired.same"),
    ("scheduling.k8s.io", "timonel.apis.retired.same"),
    ("coordination.k8s.io", "timonel.apis.retired.same"),
    ("node.k8s.io", "timonel.apis.retired.same"),
    ("apiextensions.k8s.io", "timonel.apis.retired.definitions"),
)

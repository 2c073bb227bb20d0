"""The API groups, in the order in which discovery lists them; a module is imported when somebody asks for its group.

Each module exports `RESOURCES`. `timonel.apis.scheme` joins them with the schemas.
"""

from __future__ import annotations

# (group, module)
GROUPS: tuple[tuple[str, str], ...] = (
    ("", "timonel.apis.core"),
    ("apiregistration.k8s.io", "timonel.apis.apiregistration"),
    ("apps", "timonel.apis.apps"),
    ("events.k8s.io", "timonel.apis.events"),
    ("authentication.k8s.io", "timonel.apis.authentication"),
    ("authorization.k8s.io", "timonel.apis.authorization"),
    ("autoscaling", "timonel.apis.autoscaling"),
    ("batch", "timonel.apis.batch"),
    ("certificates.k8s.io", "timonel.apis.certificates"),
    ("networking.k8s.io", "timonel.apis.networking"),
    ("policy", "timonel.apis.policy"),
    ("rbac.authorization.k8s.io", "timonel.apis.rbac"),
    ("storage.k8s.io", "timonel.apis.storage"),
    ("admissionregistration.k8s.io", "timonel.apis.admissionregistration"),
    ("apiextensions.k8s.io", "timonel.apis.apiextensions"),
    ("scheduling.k8s.io", "timonel.apis.scheduling"),
    ("coordination.k8s.io", "timonel.apis.coordination"),
    ("node.k8s.io", "timonel.apis.node"),
    ("discovery.k8s.io", "timonel.apis.discovery"),
    ("resource.k8s.io", "timonel.apis.resource_k8s"),
    ("flowcontrol.apiserver.k8s.io", "timonel.apis.flowcontrol"),
)

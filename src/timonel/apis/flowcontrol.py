"""flowcontrol.apiserver.k8s.io/v1: FlowSchema, PriorityLevelConfiguration."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

FLOW_SCHEMA = ResourceType(
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    kind="FlowSchema",
    plural="flowschemas",
    namespaced=False,
    status=True,
    generation=True,
)

PRIORITY_LEVEL_CONFIGURATION = ResourceType(
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    namespaced=False,
    status=True,
    generation=True,
)

RESOURCES = (
    FLOW_SCHEMA,
    PRIORITY_LEVEL_CONFIGURATION,
)

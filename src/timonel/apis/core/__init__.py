"""core/v1, one file per kind (pods need several: `pod_*.py` beside `pod.py`)."""

from __future__ import annotations

from timonel.apis.core import (
    binding,
    componentstatus,
    configmap,
    endpoints,
    event,
    limitrange,
    namespace,
    node,
    persistentvolume,
    persistentvolumeclaim,
    pod,
    replicationcontroller,
    resourcequota,
    secret,
    service,
    serviceaccount,
)
from timonel.apis.resource import ResourceType

RESOURCES: tuple[ResourceType, ...] = (
    *binding.RESOURCES,
    *componentstatus.RESOURCES,
    *configmap.RESOURCES,
    *endpoints.RESOURCES,
    *event.RESOURCES,
    *limitrange.RESOURCES,
    *namespace.RESOURCES,
    *node.RESOURCES,
    *persistentvolume.RESOURCES,
    *persistentvolumeclaim.RESOURCES,
    *pod.RESOURCES,
    *replicationcontroller.RESOURCES,
    *resourcequota.RESOURCES,
    *secret.RESOURCES,
    *service.RESOURCES,
    *serviceaccount.RESOURCES,
)

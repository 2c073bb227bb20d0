"""apiregistration.k8s.io/v1: APIService."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

APISERVICE = ResourceType(
    group="apiregistration.k8s.io",
    version="v1",
    kind="APIService",
    plural="apiservices",
    namespaced=False,
    categories=("api-extensions",),
    status=True,
)

RESOURCES = (APISERVICE,)

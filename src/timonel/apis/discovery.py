"""discovery.k8s.io/v1: EndpointSlice."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

ENDPOINT_SLICE = ResourceType(
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
)

RESOURCES = (ENDPOINT_SLICE,)

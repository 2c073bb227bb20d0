"""networking.k8s.io/v1: Ingress, IngressClass, NetworkPolicy, IPAddress, ServiceCIDR."""

from __future__ import annotations

from timonel.apis.resource import ResourceType

INGRESS = ResourceType(
    group="networking.k8s.io",
    version="v1",
    kind="Ingress",
    plural="ingresses",
    short_names=("ing",),
    status=True,
    generation=True,
)

INGRESS_CLASS = ResourceType(
    group="networking.k8s.io",
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    namespaced=False,
    generation=True,
)

NETWORK_POLICY = ResourceType(
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    short_names=("netpol",),
    generation=True,
)

IPADDRESS = ResourceType(
    group="networking.k8s.io",
    version="v1",
    kind="IPAddress",
    plural="ipaddresses",
    namespaced=False,
    short_names=("ip",),
)

SERVICE_CIDR = ResourceType(
    group="networking.k8s.io",
    version="v1",
    kind="ServiceCIDR",
    plural="servicecidrs",
    namespaced=False,
    status=True,
)

RESOURCES = (
    INGRESS,
    INGRESS_CLASS,
    NETWORK_POLICY,
    IPADDRESS,
    SERVICE_CIDR,
)

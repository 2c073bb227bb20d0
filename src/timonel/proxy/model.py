"""What routes where: Services and EndpointSlices as a `Routing` value. Pure.

Only readiness matters here: an endpoint is used when it is ready, or, if no endpoint of the port is ready, when it is
still serving while terminating (so that a rollout of the last pod loses no connection).

Upstream: pkg/proxy/topology.go (CategorizeEndpoints), pkg/proxy/servicechangetracker.go, endpointslicecache.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from timonel.objects.meta import Key, Object

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
DEFAULT_AFFINITY_SECONDS = 10_800


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a connection may go: a pod's address and port."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service, with the targets chosen for this node.

    `targets` serve connections under internal rules, `external_targets` those from outside the cluster (node ports,
    external addresses). With `masquerade_external` the latter get the node's address as their source, so that answers
    find their way back through this node.
    """

    namespace: str
    name: str
    port_name: str
    protocol: str  # tcp, udp or sctp
    port: int
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()  # spec.externalIPs and the load balancer's addresses
    node_port: int = 0
    affinity_seconds: int = 0  # 0: no session affinity
    targets: tuple[Target, ...] = ()
    external_targets: tuple[Target, ...] = ()
    masquerade_external: bool = True
    drop_internal: bool = False  # a Local policy without local endpoints drops instead of refusing
    drop_external: bool = False

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}/{self.protocol}/{self.port_name or self.port}"


@dataclass(frozen=True, slots=True)
class Routing:
    """All service ports, by id. Two routings are compared to find what changed."""

    ports: Mapping[str, ServicePort]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    target: Target
    ready: bool
    serving: bool
    terminating: bool
    node: str


def build(services: Iterable[Object], slices: Iterable[Object], node: str) -> Routing:
    """The routing of `node`, IPv4 part."""
    by_service: dict[Key, list[Object]] = {}
    for slice_ in slices:
        metadata = slice_["metadata"]
        owner = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL)
        if owner and slice_.get("addressType") == "IPv4":
            by_service.setdefault(Key(metadata["namespace"], owner), []).append(slice_)
    ports: dict[str, ServicePort] = {}
    for service in services:
        metadata = service["metadata"]
        mine = by_service.get(Key(metadata["namespace"], metadata["name"]), [])
        for routed in service_ports(service, mine, node):
            ports[routed.id] = routed
    return Routing(ports)


def service_ports(service: Object, slices: list[Object], node: str) -> Iterable[ServicePort]:
    """The routed ports of one Service: none for headless ones, ExternalName, and those of another proxy."""
    spec, metadata = service["spec"], service["metadata"]
    labels = metadata.get("labels") or {}
    if spec.get("type") == "ExternalName" or PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels:
        return
    cluster_ips = tuple(ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP", "")] if _is_ipv4(ip))
    if not cluster_ips:
        return
    ingress = (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    external = [*spec.get("externalIPs", []), *(i["ip"] for i in ingress if i.get("ip"))]
    for port in spec.get("ports", []):
        found = _endpoints(slices, port.get("name", ""), port.get("protocol", "TCP"))
        internal_local = spec.get("internalTrafficPolicy") == "Local"
        external_local = spec.get("externalTrafficPolicy") == "Local"
        yield ServicePort(
            namespace=metadata["namespace"],
            name=metadata["name"],
            port_name=port.get("name", ""),
            protocol=port.get("protocol", "TCP").lower(),
            port=port["port"],
            cluster_ips=cluster_ips,
            external_ips=tuple(ip for ip in external if _is_ipv4(ip)),
            node_port=port.get("nodePort", 0),
            affinity_seconds=_affinity(spec),
            targets=_usable(found, node if internal_local else None),
            external_targets=_usable(found, node if external_local else None),
            masquerade_external=not external_local,
            drop_internal=internal_local and bool(_usable(found, None)),
            drop_external=external_local and bool(_usable(found, None)),
        )


def _endpoints(slices: list[Object], port_name: str, protocol: str) -> list[_Endpoint]:
    found = []
    for slice_ in slices:
        number = next(
            (
                p["port"]
                for p in slice_.get("ports") or []
                if p.get("name", "") == port_name and p.get("protocol", "TCP") == protocol and p.get("port")
            ),
            None,
        )
        if number is None:
            continue
        for endpoint in slice_.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready", True)
            for address in endpoint["addresses"][:1]:  # further ones have no defined meaning
                found.append(
                    _Endpoint(
                        target=Target(address, number),
                        ready=ready,
                        serving=conditions.get("serving", ready),
                        terminating=conditions.get("terminating", False),
                        node=endpoint.get("nodeName", ""),
                    )
                )
    return found


def _usable(endpoints: list[_Endpoint], node: str | None) -> tuple[Target, ...]:
    """Ready ones (of `node`, if given), else those that still serve while they terminate."""
    here = [e for e in endpoints if node is None or e.node == node]
    chosen = [e for e in here if e.ready] or [e for e in here if e.serving and e.terminating]
    return tuple(sorted({e.target for e in chosen}))


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    seconds: int = config.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS
    return seconds


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False

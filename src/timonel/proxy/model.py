"""What routes where: Services and EndpointSlices as `ServicePort` values, one per port and address family. Pure.

Which endpoints serve depends on readiness, on the traffic policies, and on the hints of the slices:

    cluster list   ready, and hinted for this node or zone where all are hinted; else serving while terminating
    local list     the same of this node's alone

Lists keep the place of what stays (`stable`), so that one endpoint more or less is one element more or less.

Upstream: pkg/proxy/topology.go (CategorizeEndpoints), pkg/proxy/servicechangetracker.go, endpointslicecache.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from timonel.objects.meta import Object
from timonel.records import dataclass

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"
DEFAULT_AFFINITY_SECONDS = 10_800


@dataclass(frozen=True, slots=True)
class Place:
    """The node that routes: its name, and the zone that its label says."""

    node: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection may go: a pod's address and port; `local` when the pod is on this node."""

    ip: str
    port: int
    local: bool = False


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service in one address family, with the targets chosen for this node.

    `targets` serve the cluster IPs. From outside the cluster (node ports, external addresses) come connections to
    `cluster_targets`, or, with `external_local`, to `local_targets` only, which then see the client's own address.
    """

    namespace: str
    name: str
    port_name: str
    protocol: str  # tcp, udp or sctp
    port: int
    family: int = 4
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()  # spec.externalIPs and the load balancer's addresses
    node_port: int = 0
    affinity_seconds: int = 0  # 0: no session affinity
    targets: tuple[Target, ...] = ()
    cluster_targets: tuple[Target, ...] = ()
    local_targets: tuple[Target, ...] = ()
    internal_local: bool = False
    external_local: bool = False
    guarded_ips: tuple[str, ...] = ()  # the load balancer's addresses that only `source_ranges` may use
    source_ranges: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}/{self.protocol}/{self.port_name or self.port}/{self.family}"

    @property
    def is_external(self) -> bool:
        return bool(self.node_port or self.external_ips)


@dataclass(frozen=True, slots=True)
class HealthPort:
    """Where a load balancer asks whether this node has endpoints of a Service."""

    namespace: str
    name: str
    port: int
    local_endpoints: int


@dataclass(frozen=True, slots=True)
class _Endpoint:
    target: Target
    ready: bool
    serving: bool
    terminating: bool
    zones: tuple[str, ...]
    nodes: tuple[str, ...]


def service_ports(
    service: Object, slices: Sequence[Object], place: Place, before: Mapping[str, ServicePort] | None = None
) -> Iterable[ServicePort]:
    """The routed ports of one Service: none for headless ones, ExternalName, and those of another proxy.

    `before` holds earlier values by id, whose targets keep their place.
    """
    if not _is_routed(service):
        return
    spec, metadata = service["spec"], service["metadata"]
    policy = {"internal": spec.get("internalTrafficPolicy"), "external": spec.get("externalTrafficPolicy")}
    lb_ips = _balancer_ips(service)
    for family in (4, 6):
        cluster_ips = _of(family, spec.get("clusterIPs") or [spec.get("clusterIP", "")])
        if not cluster_ips:
            continue
        ranges = _ranges(family, spec.get("loadBalancerSourceRanges") or ())
        mine = [s for s in slices if s.get("addressType") == f"IPv{family}"]
        for port in spec.get("ports", []):
            found = _endpoints(mine, port.get("name", ""), port.get("protocol", "TCP"), place)
            cluster, local = _cluster(found, place), _local(found)
            made = ServicePort(
                namespace=metadata["namespace"],
                name=metadata["name"],
                port_name=port.get("name", ""),
                protocol=port.get("protocol", "TCP").lower(),
                port=port["port"],
                family=family,
                cluster_ips=cluster_ips,
                external_ips=_of(family, dict.fromkeys([*spec.get("externalIPs", []), *lb_ips])),
                node_port=port.get("nodePort", 0),
                affinity_seconds=_affinity(spec),
                internal_local=policy["internal"] == "Local",
                external_local=policy["external"] == "Local",
                guarded_ips=_of(family, lb_ips) if spec.get("loadBalancerSourceRanges") else (),
                source_ranges=ranges,
            )
            yield _with_targets(made, cluster, local, (before or {}).get(made.id))


def _with_targets(
    made: ServicePort, cluster: list[Target], local: list[Target], before: ServicePort | None
) -> ServicePort:
    from dataclasses import replace

    old = before or made
    wide = made.is_external
    return replace(
        made,
        targets=stable(old.targets, local if made.internal_local else cluster),
        cluster_targets=stable(old.cluster_targets, cluster) if wide else (),
        local_targets=stable(old.local_targets, local) if wide and made.external_local else (),
    )


def health_port(service: Object, slices: Sequence[Object], node: str) -> HealthPort | None:
    """For load balancers with the policy Local: how many endpoints of this node are ready."""
    spec, metadata = service["spec"], service["metadata"]
    number = spec.get("healthCheckNodePort")
    if not number or spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
        return None
    here = {
        endpoint["addresses"][0]
        for slice_ in slices
        for endpoint in slice_.get("endpoints") or []
        if endpoint.get("nodeName") == node and (endpoint.get("conditions") or {}).get("ready", True)
    }
    return HealthPort(metadata["namespace"], metadata["name"], number, len(here))


def stable(old: Sequence[Target], new: Iterable[Target]) -> tuple[Target, ...]:
    """`new` in an order that leaves as much as possible of `old` where it was."""
    wanted = dict.fromkeys(new)
    places: list[Target | None] = [None] * len(wanted)
    for n, target in enumerate(old[: len(places)]):
        if target in wanted:
            places[n] = target
            del wanted[target]
    rest = iter(sorted(wanted, key=lambda t: (t.ip, t.port)))
    return tuple(target if target is not None else next(rest) for target in places)


def _is_routed(service: Object) -> bool:
    labels = service["metadata"].get("labels") or {}
    return not (
        service["spec"].get("type") == "ExternalName"
        or PROXY_NAME_LABEL in labels
        or HEADLESS_LABEL in labels
    )


def _endpoints(slices: Iterable[Object], port_name: str, protocol: str, place: Place) -> list[_Endpoint]:
    found: dict[tuple[str, int], _Endpoint] = {}
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
            made = _endpoint(endpoint, number, place)
            known = found.get((made.target.ip, number))
            if known is None or (made.ready and not known.ready):  # while it moves from one slice to another
                found[made.target.ip, number] = made
    return list(found.values())


def _endpoint(endpoint: Object, port: int, place: Place) -> _Endpoint:
    conditions, hints = endpoint.get("conditions") or {}, endpoint.get("hints") or {}
    ready = conditions.get("ready", True)
    address = endpoint["addresses"][0]  # further ones have no defined meaning
    return _Endpoint(
        target=Target(address, port, endpoint.get("nodeName", "") == place.node),
        ready=ready,
        serving=conditions.get("serving", ready),
        terminating=conditions.get("terminating", False),
        zones=tuple(z["name"] for z in hints.get("forZones") or ()),
        nodes=tuple(n["name"] for n in hints.get("forNodes") or ()),
    )


def _cluster(endpoints: list[_Endpoint], place: Place) -> list[Target]:
    ready = _by_hints([e for e in endpoints if e.ready], place)
    return [e.target for e in ready or _leaving(endpoints)]


def _local(endpoints: list[_Endpoint]) -> list[Target]:
    here = [e for e in endpoints if e.target.local]
    return [e.target for e in [e for e in here if e.ready] or _leaving(here)]


def _leaving(endpoints: list[_Endpoint]) -> list[_Endpoint]:
    return [e for e in endpoints if e.serving and e.terminating]


def _by_hints(ready: list[_Endpoint], place: Place) -> list[_Endpoint]:
    """Hints count only if every endpoint has one and one of them is for us: else all are used."""
    if ready and all(e.nodes for e in ready):
        near = [e for e in ready if place.node in e.nodes]
        if near:
            return near
    if place.zone and ready and all(e.zones for e in ready):
        near = [e for e in ready if place.zone in e.zones]
        if near:
            return near
    return ready


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    seconds: int = config.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS
    return seconds


def _balancer_ips(service: Object) -> list[str]:
    """Addresses that a load balancer delivers to as they are; with the mode Proxy it speaks to node ports instead."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP"]


def _of(family: int, addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(ip for ip in addresses if _family(ip) == family)


def _family(text: str) -> int:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def _ranges(family: int, ranges: Iterable[str]) -> tuple[str, ...]:
    found = []
    for text in ranges:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if network.version == family:
            found.append(network)
    merged = ipaddress.collapse_addresses(found)  # type: ignore[type-var]
    return tuple(str(n) for n in merged)

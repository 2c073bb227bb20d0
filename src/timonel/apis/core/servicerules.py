"""What a Service may say: the shape, which fields go with which type, what an update may change, what to warn of.

Upstream: pkg/apis/core/validation/validation.go ValidateService, pkg/api/service/{util,warnings}.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object, annotations_of

KUBELET_PORT = 10250
MAX_AFFINITY_SECONDS = 86400
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
OLD_TOPOLOGY = "service.kubernetes.io/topology-aware-hints"
TOPOLOGY = "service.kubernetes.io/topology-mode"

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
TRAFFIC_POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"


def needs_cluster_ip(obj: Object) -> bool:
    return obj["spec"].get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_ports(obj: Object) -> bool:
    """Whether every port gets a node port; a load balancer may do without."""
    spec = obj["spec"]
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return bool(spec.get("type") == "NodePort")


def needs_health_check(obj: Object) -> bool:
    spec = obj["spec"]
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def is_external(obj: Object) -> bool:
    spec = obj["spec"]
    return spec.get("type") in ("LoadBalancer", "NodePort") or (
        spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def is_headless(obj: Object) -> bool:
    addresses: list[str] = obj["spec"].get("clusterIPs") or []
    return len(addresses) == 1 and addresses[0] == "None"


def validate_service(obj: Object) -> Iterator[Cause]:
    yield from _validate(obj, None)


def validate_service_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from _validate_address_change(new, old)
    yield from _validate_health_port_change(new, old)
    yield from _validate(new, old)


def _validate(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    kind = spec.get("type", "")
    if not spec.get("ports") and not is_headless(obj) and kind != "ExternalName":
        yield field.required("spec.ports")
    yield from _validate_by_type(obj)
    ports = spec.get("ports") or []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        yield from _validate_port(f"spec.ports[{index}]", port, len(ports) > 1, seen)
    yield from checks.label_map("spec.selector", spec.get("selector"))
    yield from checks.one_of("spec.sessionAffinity", spec.get("sessionAffinity", ""), ("ClientIP", "None"))
    yield from _validate_affinity(spec)
    yield from _validate_addresses(obj)
    yield from checks.each("spec.externalIPs", spec.get("externalIPs"), checks.public_ip)
    yield from checks.one_of("spec.type", kind, TYPES)
    if kind == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                yield field.forbidden(
                    f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'"
                )
    yield from _validate_distinct_ports(ports)
    yield from _validate_source_ranges(obj)
    if kind != "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not None:
        yield field.forbidden("spec.allocateLoadBalancerNodePorts", BALANCER_ONLY)
    yield from _validate_class(spec, old["spec"] if old else None)
    yield from _validate_traffic(obj)


def _validate_by_type(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    kind = spec.get("type")
    if kind == "LoadBalancer":
        for index, port in enumerate(spec.get("ports") or ()):
            if port.get("port") == KUBELET_PORT:
                message = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                yield field.invalid(f"spec.ports[{index}]", KUBELET_PORT, message)
    if kind in ("LoadBalancer", "NodePort") and is_headless(obj):
        yield field.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(key):
                yield field.forbidden(f"spec.{key}", "may not be set for ExternalName services")
        name = spec.get("externalName", "").removesuffix(".")
        if name:
            yield from checks.subdomain("spec.externalName", name)
        else:
            yield field.required("spec.externalName")


def _validate_port(path: str, port: Object, needs_name: bool, seen: set[str]) -> Iterator[Cause]:
    name = port.get("name", "")
    if name:
        yield from checks.label(f"{path}.name", name)
        if name in seen:
            yield field.duplicate(f"{path}.name", name)
        seen.add(name)
    elif needs_name:
        yield field.required(f"{path}.name")
    yield from checks.port_number(f"{path}.port", port.get("port", 0))
    yield from checks.one_of(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS)
    yield from checks.port_or_name(f"{path}.targetPort", port.get("targetPort"))
    if port.get("appProtocol") is not None:
        yield from checks.qualified_name(f"{path}.appProtocol", port["appProtocol"])


def _validate_affinity(spec: Object) -> Iterator[Cause]:
    path = "spec.sessionAffinityConfig"
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") == "None" and config is not None:
        yield field.forbidden(path, "must not be set when session affinity is None")
    if spec.get("sessionAffinity") != "ClientIP":
        return
    missing = "when session affinity type is ClientIP"
    if config is None:
        yield field.required(path, missing)
    elif config.get("clientIP") is None:
        yield field.required(f"{path}.clientIP", missing)
    elif config["clientIP"].get("timeoutSeconds") is None:
        yield field.required(f"{path}.clientIP.timeoutSeconds", missing)
    elif not 0 < config["clientIP"]["timeoutSeconds"] <= MAX_AFFINITY_SECONDS:
        message = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
        yield field.invalid(f"{path}.clientIP.timeoutSeconds", config["clientIP"]["timeoutSeconds"], message)


def _validate_addresses(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return
    primary, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if not primary and addresses:
        yield field.invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
    elif primary and not addresses:
        yield field.required("spec.clusterIPs")
    elif primary and addresses[0] != primary:
        yield field.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    families: list[str] = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        yield from checks.one_of(f"spec.ipFamilies[{index}]", family, FAMILIES)
        if family in families[:index]:
            yield field.duplicate(f"spec.ipFamilies[{index}]", family)
    if spec.get("ipFamilyPolicy") is not None:
        yield from checks.one_of("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], FAMILY_POLICIES)
    broken = False
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                broken = True
                yield field.invalid("spec.clusterIPs", addresses, "'None' must be the first and only value")
            continue
        causes = list(checks.ip(f"spec.clusterIPs[{index}]", address))
        broken = broken or bool(causes)
        yield from causes
    if len(addresses) > 2:
        yield field.invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")
    if broken:
        return
    versions = [_family(address) for address in addresses]
    if len(addresses) > 1 and len(set(versions)) != 2:
        yield field.invalid(
            "spec.clusterIPs", addresses, "may specify no more than one IP for each IP family"
        )
    if is_headless(obj):
        return
    for index, (address, version, family) in enumerate(zip(addresses, versions, families, strict=False)):
        if family in FAMILIES and version != family:
            message = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield field.invalid(f"spec.clusterIPs[{index}]", address, message)


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _validate_distinct_ports(ports: list[Object]) -> Iterator[Cause]:
    taken: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        if port.get("nodePort"):
            key = (port.get("protocol", ""), port["nodePort"])
            if key in taken:
                yield field.duplicate(f"spec.ports[{index}].nodePort", port["nodePort"])
            taken.add(key)
    taken = set()
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in taken:
            # upstream prints its internal struct with nothing but the key set
            shown = {
                "Name": "", "Protocol": key[0], "AppProtocol": None, "Port": key[1], "TargetPort": 0, "NodePort": 0
            }  # fmt: skip
            yield field.duplicate(f"spec.ports[{index}]", shown)
        taken.add(key)


def _validate_source_ranges(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    ranges, text = spec.get("loadBalancerSourceRanges") or [], annotations_of(obj).get(SOURCE_RANGES)
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if spec.get("type") != "LoadBalancer":
            yield field.forbidden(path, BALANCER_ONLY)
        for index, item in enumerate(ranges):
            yield from checks.cidr(f"{path}[{index}]", item.strip())
    elif text is not None:
        path = f"metadata.annotations[{SOURCE_RANGES}]"
        if spec.get("type") != "LoadBalancer":
            yield field.forbidden(path, BALANCER_ONLY)
        for item in text.strip().split(",") if text.strip() else ():
            yield from checks.cidr(path, item.strip())


def _validate_class(spec: Object, old: Object | None) -> Iterator[Cause]:
    path, name = "spec.loadBalancerClass", spec.get("loadBalancerClass")
    if old is not None and old.get("type") == "LoadBalancer" and spec.get("type") == "LoadBalancer":
        if name != old.get("loadBalancerClass"):
            yield field.invalid(path, name, "may not change once set")
        return
    if name is None:
        return
    if spec.get("type") == "LoadBalancer":
        yield from checks.qualified_name(path, name)
    else:
        yield field.forbidden(path, BALANCER_ONLY)


def _validate_traffic(obj: Object) -> Iterator[Cause]:
    spec = obj["spec"]
    path, policy = "spec.externalTrafficPolicy", spec.get("externalTrafficPolicy", "")
    if not is_external(obj):
        if policy:
            yield field.invalid(path, policy, "may only be set for externally-accessible services")
    elif not policy:
        yield field.required(path)
    else:
        yield from checks.one_of(path, policy, TRAFFIC_POLICIES)
    path, port = "spec.healthCheckNodePort", spec.get("healthCheckNodePort", 0)
    if needs_health_check(obj):
        if port:
            yield from checks.port_number(path, port)
    elif port:
        message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield field.invalid(path, port, message)
    if spec.get("internalTrafficPolicy") is not None:
        yield from checks.one_of(
            "spec.internalTrafficPolicy", spec["internalTrafficPolicy"], TRAFFIC_POLICIES
        )
    if spec.get("trafficDistribution") is not None:
        yield from checks.one_of("spec.trafficDistribution", spec["trafficDistribution"], DISTRIBUTIONS)


def _validate_address_change(new: Object, old: Object) -> Iterator[Cause]:
    """The first address never changes; a second one may come and go with the family policy."""
    if "ExternalName" in (new["spec"].get("type"), old["spec"].get("type")):
        return
    now: list[str] = new["spec"].get("clusterIPs") or []
    before: list[str] = old["spec"].get("clusterIPs") or []
    if before and not now:
        yield field.invalid("spec.clusterIPs[0]", now, "primary clusterIP can not be unset")
    elif before and before[0] != now[0]:
        yield field.invalid("spec.clusterIPs[0]", now, "may not change once set")
    elif len(before) > 1 and len(now) > 1 and before[1] != now[1]:
        yield field.invalid("spec.clusterIPs[1]", now, "may not change once set")
    elif len(before) > 1 and len(now) == 1 and new["spec"].get("ipFamilyPolicy") != "SingleStack":
        message = "`ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary clusterIP"
        yield field.invalid("spec.ipFamilyPolicy", new["spec"].get("ipFamilyPolicy"), message)


def _validate_health_port_change(new: Object, old: Object) -> Iterator[Cause]:
    now, before = new["spec"].get("healthCheckNodePort", 0), old["spec"].get("healthCheckNodePort", 0)
    if needs_health_check(new) and needs_health_check(old) and now != before:
        yield field.forbidden("spec.healthCheckNodePort", checks.IMMUTABLE)


def validate_service_status(new: Object, old: Object) -> Iterator[Cause]:
    path = "status.loadBalancer.ingress"
    ingresses = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    if ingresses and new["spec"].get("type") != "LoadBalancer":
        yield field.forbidden(path, "may only be used when `spec.type` is LoadBalancer")
        return
    for index, ingress in enumerate(ingresses):
        if ingress.get("ip"):
            yield from checks.ip(f"{path}[{index}].ip", ingress["ip"])
            if ingress.get("ipMode") is None:
                yield field.required(f"{path}[{index}].ipMode", "must be specified when `ip` is set")
            else:
                yield from checks.one_of(f"{path}[{index}].ipMode", ingress["ipMode"], ("Proxy", "VIP"))
        elif ingress.get("ipMode") is not None:
            yield field.forbidden(f"{path}[{index}].ipMode", "may not be specified when `ip` is not set")
        if ingress.get("hostname"):
            yield from checks.subdomain(f"{path}[{index}].hostname", ingress["hostname"])
            if checks.parsed_ip(ingress["hostname"]) is not None:
                message = "must be a DNS name, not an IP address"
                yield field.invalid(f"{path}[{index}].hostname", ingress["hostname"], message)


def warnings(obj: Object) -> Iterator[str]:
    spec = obj["spec"]
    if OLD_TOPOLOGY in annotations_of(obj):
        yield f"annotation {OLD_TOPOLOGY} is deprecated, please use {TOPOLOGY} instead"
    if spec.get("externalIPs"):
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if is_headless(obj):
        if spec.get("loadBalancerIP"):
            yield 'spec.loadBalancerIP is ignored when spec.clusterIP is "None"'
        if spec.get("externalIPs"):
            yield 'spec.externalIPs is ignored when spec.clusterIP is "None"'
        if spec.get("sessionAffinity") not in (None, "", "None"):
            yield "spec.SessionAffinity is ignored for headless services"
    if spec.get("type") == "ExternalName":
        if spec.get("externalIPs"):
            yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    elif spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def warnings_update(new: Object, old: Object) -> Iterator[str]:
    yield from warnings(new)

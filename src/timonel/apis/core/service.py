"""core/v1: Service.

Cluster addresses and node ports are allocated by the server; here is what can be said without the allocators: the
defaults, and what an update keeps of the old allocation. The rules are in `servicerules`.

Upstream: pkg/apis/core/v1/defaults.go, pkg/registry/core/service/{strategy.go,storage/*.go},
pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from typing import Any

from timonel.apis.core.servicerules import (
    is_external,
    needs_cluster_ip,
    needs_health_check,
    needs_node_ports,
    validate_service,
    validate_service_status,
    validate_service_update,
    warnings,
    warnings_update,
)
from timonel.apis.printing import AGE, labels_cell
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import names
from timonel.objects.meta import Object

# ---------------------------------------------------------------- defaults and preparation


def default_service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    affinity = spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        if (config.get("clientIP") or {}).get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 10800}}
    kind = spec["type"] = spec.get("type") or "ClusterIP"
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if is_external(obj) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            spec["allocateLoadBalancerNodePorts"] = True
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"


def prepare_create(obj: Object) -> None:
    obj["status"] = {"loadBalancer": {}}
    spec = obj["spec"]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def prepare_update(new: Object, old: Object) -> None:
    _drop_what_the_type_lost(new, old)
    _keep_allocated(new, old)
    _align_cluster_ips(new["spec"], old["spec"])


def _drop_what_the_type_lost(new: Object, old: Object) -> None:
    """A change of type frees what only the old type had, unless the caller changed it too: then validation speaks."""
    spec, before = new["spec"], old["spec"]
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        if spec.get("clusterIP") == before.get("clusterIP") and spec.get("clusterIPs") == before.get(
            "clusterIPs"
        ):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        _drop_same(spec, before, "ipFamilies", "ipFamilyPolicy")
    if _has_node_ports(old) and not _has_node_ports(new) and _node_ports(spec) == _node_ports(before):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(new):
        _drop_same(spec, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_same(spec, before, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if is_external(old) and not is_external(new):
        _drop_same(spec, before, "externalTrafficPolicy")
    if before.get("type") != "ExternalName" and spec.get("type") == "ExternalName":
        _drop_same(spec, before, "internalTrafficPolicy")


def _drop_same(spec: Object, before: Object, *keys: str) -> None:
    for key in keys:
        if spec.get(key) == before.get(key):
            spec.pop(key, None)


def _has_node_ports(obj: Object) -> bool:
    return obj["spec"].get("type") in ("NodePort", "LoadBalancer")


def _node_ports(spec: Object) -> list[int]:
    return [port.get("nodePort", 0) for port in spec.get("ports") or ()]


def _keep_allocated(new: Object, old: Object) -> None:
    """What was allocated stays when the caller says nothing about it (a PUT of a manifest that never had it)."""
    spec, before = new["spec"], old["spec"]
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
        same = spec.get("clusterIP") == before.get("clusterIP")
        if same and not spec.get("clusterIPs") and before.get("clusterIPs"):
            spec["clusterIPs"] = list(before["clusterIPs"])
    if needs_node_ports(old) and needs_node_ports(new):
        known = {(p.get("protocol"), p.get("port")): p.get("nodePort", 0) for p in before.get("ports") or ()}
        used = set(_node_ports(spec))
        for port in spec.get("ports") or ():
            found = known.get((port.get("protocol"), port.get("port")), 0)
            if not port.get("nodePort") and found and found not in used:
                port["nodePort"] = found
    kept = before.get("healthCheckNodePort")
    if kept and needs_health_check(old) and needs_health_check(new) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = kept


def _align_cluster_ips(spec: Object, before: Object) -> None:
    """A client that knows only `clusterIP` changes `clusterIPs` with it."""
    if spec.get("clusterIPs") != before.get("clusterIPs"):
        return
    if before.get("clusterIP") and not spec.get("clusterIP"):
        spec.pop("clusterIPs", None)
    elif spec.get("clusterIP") and spec.get("clusterIP") != before.get("clusterIP"):
        spec["clusterIPs"] = [spec["clusterIP"]]


# ---------------------------------------------------------------- columns


def _external_addresses(obj: Object, now: float) -> str:
    spec = obj["spec"]
    kind, given = spec.get("type"), list(spec.get("externalIPs") or ())
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(given) or "<none>"
    if kind == "LoadBalancer":
        balancer = (obj.get("status") or {}).get("loadBalancer") or {}
        found = {i.get("ip") or i.get("hostname") for i in balancer.get("ingress") or ()} - {None, ""}
        return ",".join([*sorted(found), *given]) or "<pending>"
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    return "<unknown>"


def _port_text(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort", 0) > 0 else ""
    return f"{port.get('port', 0)}{node}/{port.get('protocol', '')}"


def _ports(obj: Object, now: float) -> str:
    return ",".join(_port_text(port) for port in obj["spec"].get("ports") or ()) or "<none>"


def _spec(key: str, missing: Any = "") -> Any:
    return lambda obj, now: obj["spec"].get(key) or missing


SERVICE = ResourceType(
    group="",
    version="v1",
    kind="Service",
    plural="services",
    short_names=("svc",),
    categories=("all",),
    subresources=("proxy",),
    status=True,
    create_on_update=True,
    selectable={
        "spec.clusterIP": lambda o: o["spec"].get("clusterIP", ""),
        "spec.type": lambda o: o["spec"].get("type", ""),
    },
    validate_name=names.name_is_dns_label,
    default=default_service,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_service,
    validate_update=validate_service_update,
    validate_status_update=validate_service_status,
    warnings=warnings,
    warnings_update=warnings_update,
    columns=(
        Column("Type", _spec("type"), doc="spec.type"),
        Column("Cluster-IP", _spec("clusterIP", "<none>"), doc="spec.clusterIP"),
        Column("External-IP", _external_addresses, doc="spec.externalIPs"),
        Column("Port(s)", _ports, doc="spec.ports"),
        AGE,
        Column(
            "Selector", lambda o, now: labels_cell(o["spec"].get("selector")), priority=1, doc="spec.selector"
        ),
    ),
)

RESOURCES = (SERVICE,)

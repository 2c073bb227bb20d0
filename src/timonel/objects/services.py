"""Services and the pods behind them: selection, target ports, what an endpoint says about a pod.

Upstream: staging/src/k8s.io/endpointslice/utils.go, pkg/api/v1/pod/util.go (FindPort).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timonel.machinery import selectors
from timonel.objects import pods
from timonel.objects.meta import Object, is_deleting, labels_of, nested

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS_LABEL = "service.kubernetes.io/headless"
Port = dict[str, Any]


def selector_of(service: Object) -> dict[str, str]:
    """Empty: someone else makes the endpoints."""
    found: dict[str, str] = service["spec"].get("selector") or {}
    return found


def pod_selector(service: Object) -> selectors.LabelSelector:
    """The pods behind a Service; of one without a selector that is nobody's business here."""
    labels = selector_of(service)
    return selectors.from_map(labels) if labels else selectors.NOTHING


def selects(service: Object, pod: Object) -> bool:
    selector = selector_of(service)
    return bool(selector) and selector.items() <= labels_of(pod).items()


def is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def gets_endpoints(service: Object) -> bool:
    return bool(selector_of(service)) and service["spec"].get("type") != "ExternalName"


def target_port(port: Port, pod: Object) -> int | None:
    """The number behind a Service port on this pod; a named one may differ from pod to pod or be missing."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    spec = pod.get("spec") or {}
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*(spec.get("containers") or ()), *sidecars):
        for declared in container.get("ports") or ():
            same_protocol = declared.get("protocol", "TCP") == port.get("protocol", "TCP")
            if declared.get("name") == target and same_protocol:
                return int(declared["containerPort"])
    return None


def endpoint_ports(service: Object, pod: Object) -> list[Port]:
    found: list[Port] = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number is None:
            continue
        extra = {"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {}
        found.append(
            {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number, **extra}
        )
    return found


def addresses(pod: Object, family: str) -> list[str]:
    """The pod's addresses of a family, IPv4 or IPv6."""
    status = pod.get("status") or {}
    known = [ip["ip"] for ip in status.get("podIPs") or ()] or [status.get("podIP", "")]
    return [ip for ip in known if ip and (":" in ip) == (family == "IPv6")]


def may_have_endpoint(pod: Object, *, terminating: bool) -> bool:
    if pods.is_terminal(pod) or not (pod.get("status") or {}).get("podIP"):
        return False
    return terminating or not is_deleting(pod)


def hostname(service: Object, pod: Object) -> str:
    spec = pod.get("spec") or {}
    same = spec.get("subdomain") == service["metadata"]["name"]
    return str(spec.get("hostname") or "") if same else ""


def pod_reference(pod: Object) -> dict[str, str]:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def zone_of(node: Object | None) -> str:
    return str(nested(node, "metadata", "labels", "topology.kubernetes.io/zone") or "")


def families(service: Object) -> Iterable[str]:
    return service["spec"].get("ipFamilies") or ("IPv4",)


def triggered_at(service: Object | None, changed: Iterable[Object]) -> str:
    """When the first of the changes happened that endpoints are written for: pods that became ready or ceased to be,
    and the Service, where it is new. Empty: nobody can say, as for pods that are gone."""
    times = [str((pods.condition_of(p, "Ready") or {}).get("lastTransitionTime") or "") for p in changed]
    if service is not None:
        times.append(str(service["metadata"].get("creationTimestamp") or ""))
    return min(filter(None, times), default="")


def with_trigger(annotations: dict[str, str], at: str) -> dict[str, str]:
    rest = {k: v for k, v in annotations.items() if k != LAST_CHANGE}
    return {**rest, LAST_CHANGE: at} if at else rest

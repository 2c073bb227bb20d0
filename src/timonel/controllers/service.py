"""Services of type LoadBalancer get the addresses of nodes, where no cloud provider has anything better to give.

Every ready node takes connections to any of these addresses and the Service's ports itself. A port can be given out
once only: the oldest Service that wants it has it, the others wait and are told so.

Watches   services (all load balancers are woken by each, for one may free another's port); nodes (wake them likewise)
Writes    services/status (loadBalancer)
Upstream  staging/src/k8s.io/cloud-provider/controllers/service/controller.go (which nodes; Events)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from timonel.control.actions import Outcome, Plan, Record, Status
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Key, Object, is_deleting, key_of, labels_of, nested
from timonel.records import dataclass

SERVICES, NODES = "services", "nodes"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
AGENT_PORTS = {("TCP", 10250): "the node agent"}  # of the node itself: who took them would cut it off
Port = tuple[str, int]  # protocol, number


@dataclass(frozen=True, slots=True)
class Observed:
    """`addresses` of nodes that take part, in order; `taken`: ports that others have, and who has them."""

    addresses: tuple[str, ...]
    taken: tuple[tuple[Port, str], ...]
    of_any_node: frozenset[str] = frozenset()


def is_ours(service: Object) -> bool:
    spec = service["spec"]
    return (
        spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not is_deleting(service)
    )


def ports_of(service: Object) -> list[Port]:
    return [(p.get("protocol", "TCP"), p["port"]) for p in service["spec"].get("ports") or ()]


def takes_part(node: Object) -> bool:
    if is_deleting(node) or EXCLUDED in labels_of(node):
        return False
    return any(
        c["type"] == "Ready" and c["status"] == "True" for c in nested(node, "status", "conditions") or ()
    )


def addresses_of(node: Object) -> Iterator[str]:
    """Those from outside where there are some, as kubectl get services shows them."""
    found = nested(node, "status", "addresses") or ()
    outside = [a["address"] for a in found if a["type"] == "ExternalIP"]
    yield from outside or [a["address"] for a in found if a["type"] == "InternalIP"]


def rank(service: Object) -> tuple[str, Key]:
    return service["metadata"].get("creationTimestamp") or "", key_of(service)


def observe(desired: Object, cache: Cache) -> Observed:
    nodes = cache.list(NODES)
    ready = sorted((n for n in nodes if takes_part(n)), key=lambda n: n["metadata"]["name"])
    older = (s for s in cache.list(SERVICES) if is_ours(s) and rank(s) < rank(desired))
    taken: dict[Port, str] = {}
    for service in sorted(older, key=rank):
        ports = ports_of(service)
        if not any(port in taken or port in AGENT_PORTS for port in ports):
            key = key_of(service)
            taken.update(dict.fromkeys(ports, f"Service {key.namespace}/{key.name}"))
    everywhere = frozenset(
        a["address"] for n in nodes for a in nested(n, "status", "addresses") or () if a["type"] != "Hostname"
    )
    return Observed(tuple(a for n in ready for a in addresses_of(n)), tuple(taken.items()), everywhere)


def conflict(desired: Object, observed: Observed) -> str:
    """Which port cannot be had, and why; empty if all can."""
    taken = {**AGENT_PORTS, **dict(observed.taken)}
    for protocol, number in ports_of(desired):
        if (protocol, number) in taken:
            return f"port {number}/{protocol} of the nodes is already used by {taken[protocol, number]}"
    return ""


def addresses(desired: Object, observed: Observed) -> Sequence[str]:
    if not is_ours(desired) or conflict(desired, observed):
        return ()
    families = desired["spec"].get("ipFamilies") or ["IPv4"]
    return [a for a in observed.addresses if ("IPv6" if ":" in a else "IPv4") in families]


def reconcile(desired: Object, observed: Observed) -> Plan:
    why = conflict(desired, observed) if is_ours(desired) else ""
    if not why:
        return Plan()
    return Plan((Record("Warning", "SyncLoadBalancerFailed", f"Error syncing load balancer: {why}"),))


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    old: Status = desired.get("status") or {}
    given = [i.get("ip", "") for i in nested(old, "loadBalancer", "ingress") or ()]
    wanted = list(addresses(desired, observed))
    if given == wanted or (not is_ours(desired) and not set(given) <= observed.of_any_node):
        return None  # of another class: what its own controller has written stays
    ingress = [{"ip": ip, "ipMode": "VIP"} for ip in wanted]
    return {**old, "loadBalancer": {"ingress": ingress} if ingress else {}}


def _balancers(obj: Object, cache: Cache) -> Iterable[Key]:
    return {key_of(each) for each in cache.list(SERVICES) if is_ours(each)}


def _and_itself(obj: Object, cache: Cache) -> Iterable[Key]:
    return {key_of(obj), *(_balancers(obj, cache) if obj["spec"].get("type") == "LoadBalancer" else ())}


def _part_changed(old: Object, new: Object) -> bool:
    return takes_part(old) != takes_part(new) or list(addresses_of(old)) != list(addresses_of(new))


SERVICE = ControllerType(
    name="service-controller",
    watches=(Watch(SERVICES, wakes=_and_itself), Watch(NODES, wakes=_balancers, matters=_part_changed)),
    observe=observe,
    reconcile=reconcile,
    status=status,
)

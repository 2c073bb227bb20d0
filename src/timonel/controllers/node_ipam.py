"""Every node gets a range of pod addresses of its own, cut from the cluster's.

All nodes are reconciled under one key (the namespace kube-system, which always exists): two passes at once could hand
out one range twice.

Watches   nodes; namespaces (kube-system, as the key)
Writes    nodes (spec.podCIDR, spec.podCIDRs)
Upstream  pkg/controller/nodeipam/ipam/range_allocator.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from timonel.control.actions import Action, Patch, Plan, Record
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.objects.meta import Key, Object, is_deleting, key_of, uid_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SINGLETON = Key("", "kube-system")


def _ranges(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _free(cluster: Network, prefix: int, taken: Sequence[Network]) -> Network | None:
    used = [(int(t.network_address), int(t.broadcast_address)) for t in taken if t.version == cluster.version]
    equal = set(used)
    for subnet in cluster.subnets(new_prefix=prefix):
        first, last = int(subnet.network_address), int(subnet.broadcast_address)
        if (first, last) not in equal and not any(a <= last and first <= b for a, b in used):
            return subnet
    return None


def _everyone(node: Object, cache: Cache) -> Iterable[Key]:
    return (SINGLETON,)


def observe(desired: Object, cache: Cache) -> Sequence[Object]:
    return cache.list("nodes")


def node_ipam(
    cluster_cidrs: Sequence[str], *, node_prefix_v4: int = 24, node_prefix_v6: int = 64
) -> ControllerType[Sequence[Object]]:
    """`cluster_cidrs`: one range per family."""
    clusters = [ipaddress.ip_network(c) for c in cluster_cidrs]

    def reconcile(desired: Object, nodes: Sequence[Object]) -> Plan:
        taken = [ipaddress.ip_network(c) for node in nodes for c in _ranges(node)]
        waiting = [n for n in nodes if not _ranges(n) and not is_deleting(n)]
        waiting.sort(key=lambda n: (n["metadata"].get("creationTimestamp", ""), n["metadata"]["name"]))
        actions: list[Action] = []
        for node in waiting:
            given: list[Network] = []
            for cluster in clusters:
                prefix = max(cluster.prefixlen, node_prefix_v4 if cluster.version == 4 else node_prefix_v6)
                found = _free(cluster, prefix, taken)
                if found is not None:
                    given.append(found)
            if len(given) < len(clusters):
                text = f"Node {node['metadata']['name']} status is now: CIDRNotAvailable"
                actions.append(Record("Normal", "CIDRNotAvailable", text, about=node))
                continue
            taken += given
            ranges = list(map(str, given))
            patch = {"spec": {"podCIDR": ranges[0], "podCIDRs": ranges}}
            actions.append(Patch("nodes", key_of(node), patch, uid=uid_of(node), missing_ok=True))
        return Plan(tuple(actions))

    return ControllerType(
        name="node-controller",
        component="cidrAllocator",
        watches=(Watch("namespaces", wakes=nobody), Watch("nodes", wakes=_everyone)),
        observe=observe,
        reconcile=reconcile,
        workers=1,
    )

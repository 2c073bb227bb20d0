"""Every node gets a range of pod addresses of its own, cut from the cluster's.

All nodes are reconciled under one key (the namespace kube-system, which always exists): two passes at once could hand
out one range twice.

Watches   nodes; namespaces (kube-system, as the key)
Writes    nodes (spec.podCIDR, spec.podCIDRs)
Upstream  pkg/controller/nodeipam/ipam/range_allocator.go
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from timonel.control.actions import Action, Patch, Plan, Record
from timonel.control.declare import Cache, ControllerType, Watch, nobody
from timonel.objects.meta import Key, Object, is_deleting, key_of, uid_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SINGLETON = Key("", "kube-system")


def _ranges(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _free(cluster: Network, prefix: int, taken: Iterable[Network]) -> Iterator[Network]:
    """The ranges of this size that overlap none that is taken, the lowest first."""
    shift = cluster.max_prefixlen - prefix
    base, count = int(cluster.network_address) >> shift, 1 << (prefix - cluster.prefixlen)
    used = sorted(
        ((int(t.network_address) >> shift) - base, (int(t.broadcast_address) >> shift) - base)
        for t in taken
        if t.version == cluster.version
    )
    at = 0
    for first, last in (*used, (count, count)):
        while at < min(first, count):
            yield ipaddress.ip_network((((base + at) << shift), prefix))
            at += 1
        at = max(at, last + 1)


def _everyone(node: Object, cache: Cache) -> Iterable[Key]:
    """A node that has its range wakes nobody, or each heartbeat of thousands would have all of them looked at; one
    that is gone does: others may wait for what it had."""
    is_settled = bool(_ranges(node)) and cache.get("nodes", key_of(node)) is not None
    return () if is_settled else (SINGLETON,)


def _matters(old: Object, new: Object) -> bool:
    """What a node says of itself does not: where all ranges are taken, its heartbeats would be told of that each."""
    return _ranges(old) != _ranges(new) or is_deleting(old) != is_deleting(new)


def observe(desired: Object, cache: Cache) -> Sequence[Object]:
    return cache.list("nodes")


def node_ipam(
    cluster_cidrs: Sequence[str],
    *,
    node_prefix_v4: int = 24,
    node_prefix_v6: int = 64,
    reserved: Iterable[str] = (),
) -> ControllerType[Sequence[Object]]:
    """`cluster_cidrs`: one range per family. `reserved` are ranges that nodes will bring along, sooner or later."""
    clusters = [ipaddress.ip_network(c) for c in cluster_cidrs]
    kept = [ipaddress.ip_network(c) for c in reserved]

    def reconcile(desired: Object, nodes: Sequence[Object]) -> Plan:
        waiting = [n for n in nodes if not _ranges(n) and not is_deleting(n)]
        if not waiting:
            return Plan()
        taken = [*kept, *(ipaddress.ip_network(c) for node in nodes for c in _ranges(node))]
        waiting.sort(key=lambda n: (n["metadata"].get("creationTimestamp", ""), n["metadata"]["name"]))
        actions: list[Action] = []
        free = [
            _free(c, max(c.prefixlen, node_prefix_v4 if c.version == 4 else node_prefix_v6), taken)
            for c in clusters
        ]
        for node in waiting:
            given = [found for ranges in free if (found := next(ranges, None)) is not None]
            if len(given) < len(clusters):
                text = f"Node {node['metadata']['name']} status is now: CIDRNotAvailable"
                actions.append(Record("Normal", "CIDRNotAvailable", text, about=node))
                continue
            texts = list(map(str, given))
            patch = {"spec": {"podCIDR": texts[0], "podCIDRs": texts}}
            actions.append(Patch("nodes", key_of(node), patch, uid=uid_of(node), missing_ok=True))
        return Plan(tuple(actions))

    return ControllerType(
        name="node-controller",
        component="cidrAllocator",
        watches=(Watch("namespaces", wakes=nobody), Watch("nodes", wakes=_everyone, matters=_matters)),
        observe=observe,
        reconcile=reconcile,
        workers=1,
    )

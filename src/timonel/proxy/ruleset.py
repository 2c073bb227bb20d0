"""A `Routing` as nftables text: the whole table once, and then only what changed. Pure.

The table, named after the cluster so that several can share a network namespace:

    map service-ips    {address . protocol . port : goto svc-X}     cluster IPs
    map external-ips   {address . protocol . port : goto ext-X}     external addresses, from anywhere
    map service-nodeports {protocol . port : goto ext-X}            any address of this node
    map no-endpoint-services / no-endpoint-nodeports {… : goto reject-chain | drop}
    set hairpin        {address . address}                          a pod that reaches itself through a Service
    chain svc-X        one per service port: affinity, then a random pick among the targets
    chain ext-X        marks for masquerading, then the pick among the external targets

A changed service port costs one `flush chain` and its own rules; everything in one transaction is applied at once.

Upstream: pkg/proxy/nftables/README.md, proxier.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from timonel.proxy.model import Routing, ServicePort, Target
from timonel.records import dataclass

MASQUERADE_MARK = "0x4000"


@dataclass(frozen=True, slots=True)
class Network:
    """What the rules need to know of the node: its table's name, the pods' range, and what must not be masqueraded."""

    table: str
    cluster_cidr: str


def base(network: Network) -> str:
    """The table without services; replaces one that is left from before."""
    t = f"ip {network.table}"
    return f"""\
table {t} {{}}
delete table {t}
table {t} {{
  map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map external-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map service-nodeports {{ type inet_proto . inet_service : verdict; }}
  map no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  chain reject-chain {{
    reject
  }}
  chain drop-chain {{
    drop
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr . meta l4proto . th dport vmap @external-ips
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
  }}
  chain endpoints-missing {{
    ip daddr . meta l4proto . th dport vmap @no-endpoint-services
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @no-endpoint-nodeports
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark and {MASQUERADE_MARK} != 0 masquerade
    ip saddr . ip daddr @hairpin masquerade
    ip saddr {network.cluster_cidr} ip daddr != {network.cluster_cidr} oifname != "lo" masquerade
  }}
  chain filter-prerouting {{
    type filter hook prerouting priority dstnat - 10; policy accept;
    ct state new jump endpoints-missing
  }}
  chain filter-output {{
    type filter hook output priority -110; policy accept;
    ct state new jump endpoints-missing
  }}
}}
"""


def update(network: Network, old: Routing, new: Routing) -> str:
    """The transaction that turns the rules of `old` into those of `new`; empty when nothing changed."""
    return "".join(f"{line}\n" for line in _update(f"ip {network.table}", old, new))


def _update(table: str, old: Routing, new: Routing) -> Iterator[str]:
    gone = [p for key, p in old.ports.items() if new.ports.get(key) != p]
    fresh = [p for key, p in new.ports.items() if old.ports.get(key) != p]
    if not gone and not fresh:
        return
    before, after = _elements(gone), _elements(fresh)
    # Two passes: elements first leave every map, so that a chain that nothing names any more can be deleted.
    for container, elements in before.items():
        for key in elements:
            yield f"delete element {table} {container} {{ {key} }}"
    kept = {chain for p in fresh for chain in _chains(p)}
    for port in fresh:
        for chain, rules in _chains(port).items():
            yield f"add chain {table} {chain}"
            yield f"flush chain {table} {chain}"
            for clients in _affinity_sets(port, chain):
                timeout = f"timeout {port.affinity_seconds}s"
                yield f"add set {table} {clients} {{ type ipv4_addr; flags dynamic,timeout; {timeout}; }}"
            for rule in rules:
                yield f"add rule {table} {chain} {rule}"
    for port in gone:
        for chain in _chains(port):
            if chain not in kept:
                yield f"flush chain {table} {chain}"
                yield f"delete chain {table} {chain}"
    in_use = {clients for p in fresh for chain in _chains(p) for clients in _affinity_sets(p, chain)}
    for port in gone:
        for chain in _chains(port):
            for clients in _affinity_sets(port, chain):
                if clients not in in_use:
                    yield f"delete set {table} {clients}"
    for container, elements in after.items():
        for key, value in elements.items():
            yield f"add element {table} {container} {{ {key}{f' : {value}' if value else ''} }}"
    old_pairs, new_pairs = _hairpins(old), _hairpins(new)
    for ip in sorted(old_pairs - new_pairs):
        yield f"delete element {table} hairpin {{ {ip} . {ip} }}"
    for ip in sorted(new_pairs - old_pairs):
        yield f"add element {table} hairpin {{ {ip} . {ip} }}"


def _hairpins(routing: Routing) -> set[str]:
    return {t.ip for p in routing.ports.values() for t in (*p.targets, *p.external_targets)}


def _elements(ports: Iterable[ServicePort]) -> dict[str, dict[str, str]]:
    """Map name -> element key -> verdict, for the given service ports."""
    maps: dict[str, dict[str, str]] = {
        "service-ips": {}, "external-ips": {}, "service-nodeports": {},
        "no-endpoint-services": {}, "no-endpoint-nodeports": {},
    }  # fmt: skip
    for p in ports:
        internal, external = chain_name("svc", p), chain_name("ext", p)
        for ip in p.cluster_ips:
            key = f"{ip} . {p.protocol} . {p.port}"
            if p.targets:
                maps["service-ips"][key] = f"goto {internal}"
            else:
                maps["no-endpoint-services"][key] = _refusal(p.drop_internal)
        for ip in p.external_ips:
            key = f"{ip} . {p.protocol} . {p.port}"
            if p.external_targets:
                maps["external-ips"][key] = f"goto {external}"
            else:
                maps["no-endpoint-services"][key] = _refusal(p.drop_external)
        if p.node_port:
            key = f"{p.protocol} . {p.node_port}"
            if p.external_targets:
                maps["service-nodeports"][key] = f"goto {external}"
            else:
                maps["no-endpoint-nodeports"][key] = _refusal(p.drop_external)
    return maps


def _refusal(drop: bool) -> str:
    return "goto drop-chain" if drop else "goto reject-chain"


def _chains(port: ServicePort) -> dict[str, list[str]]:
    """Chain name -> its rules."""
    chains = {}
    if port.targets:
        chains[chain_name("svc", port)] = list(_pick(port, chain_name("svc", port), port.targets))
    if port.external_targets and (port.node_port or port.external_ips):
        name = chain_name("ext", port)
        rules = [f"meta mark set meta mark or {MASQUERADE_MARK}"] if port.masquerade_external else []
        chains[name] = [*rules, *_pick(port, name, port.external_targets)]
    return chains


def _pick(port: ServicePort, chain: str, targets: tuple[Target, ...]) -> Iterator[str]:
    proto = f"meta l4proto {port.protocol}"
    if not port.affinity_seconds:
        if len(targets) == 1:
            yield f"{proto} dnat to {targets[0].ip}:{targets[0].port}"
        else:
            # `meta l4proto` is required before a map of address . port (nft 1.0.6).
            table = ", ".join(f"{n} : {t.ip} . {t.port}" for n, t in enumerate(targets))
            yield f"{proto} dnat ip to numgen random mod {len(targets)} map {{ {table} }}"
        return
    for target in targets:
        clients = affinity_set(chain, target)
        stick = f"update @{clients} {{ ip saddr timeout {port.affinity_seconds}s }}"
        yield f"ip saddr @{clients} {stick} {proto} dnat to {target.ip}:{target.port}"
    left = len(targets)
    for target in targets:
        chance = f"numgen random mod {left} 0 " if left > 1 else ""
        yield (
            f"{chance}update @{affinity_set(chain, target)} {{ ip saddr timeout {port.affinity_seconds}s }} "
            f"{proto} dnat to {target.ip}:{target.port}"
        )
        left -= 1


def _affinity_sets(port: ServicePort, chain: str) -> list[str]:
    if not port.affinity_seconds:
        return []
    targets = port.targets if chain.startswith("svc-") else port.external_targets
    return [affinity_set(chain, target) for target in targets]


def affinity_set(chain: str, target: Target) -> str:
    """Which clients stick to this target of this chain; named after both, so it survives changes of the others."""
    return f"affinity-{_digest(f'{chain}/{target.ip}/{target.port}')}"


def chain_name(kind: str, port: ServicePort) -> str:
    return f"{kind}-{_digest(port.id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

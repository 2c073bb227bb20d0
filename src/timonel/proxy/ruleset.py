"""The part of the rules that does not depend on Services: tables, maps and the chains that maps lead to, as text. Pure.

One table per address family, named after the cluster so that several can share a network namespace. Everything about
Services is in elements of maps (`elements`); a chain is made for a *kind* of service port (how many targets, which
policy, which timeout), so thousands of Services share few chains:

    map service-ips      {address . protocol . port : goto CHAIN}    cluster IPs and external addresses
    map service-nodeports {protocol . port : goto CHAIN}             any address of this node
    map endpoints        {address . protocol . port . index : pod address . port}
    map slots, sticky, affinity                                      the same with a memory, for session affinity
    map no-endpoint-services, no-endpoint-nodeports                  what is refused or dropped
    set firewall-ips, firewall-allow                                 loadBalancerSourceRanges
    set hairpin          {address . address}                         a pod that reaches itself through a Service

The index is drawn at random and handed from rule to rule as the mark of the connection (ct mark), since nft 1.0.6 takes
no drawn number as part of a key here; those of targets on this node alone begin at `LOCAL_OFFSET`.

Upstream: pkg/proxy/nftables/README.md, proxier.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timonel.records import dataclass

MASQUERADE_MARK = "0x4000"
LOCAL_OFFSET = 32768
PROTOCOLS = ("tcp", "udp", "sctp")
FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Network:
    """What the rules need to know of the node: its tables' name, and the pods' ranges, of either family."""

    table: str
    cluster_cidr: str  # several are separated by commas

    def ranges(self, family: int) -> list[str]:
        mark = ":" if family == 6 else "."
        return [r.strip() for r in self.cluster_cidr.split(",") if mark in r]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a chain does. `role` is internal, external or local (an external policy Local)."""

    role: str
    where: str  # ip or node: what the keys of the chain's maps are
    family: int
    targets: int
    local: int = 0
    affinity: int = 0

    @property
    def chain(self) -> str:
        sticky = f"-{self.affinity}s" if self.affinity else ""
        local = f"-{self.local}" if self.role == "local" else ""
        return f"{self.role}-{self.where}-{self.targets}{local}{sticky}"


def table_of(family: int, network: Network) -> str:
    return f"{'ip' if family == 4 else 'ip6'} {network.table}"


def base(network: Network) -> str:
    """The tables without services; replaces those that are left from before."""
    return "".join(_base(network, family) for family in FAMILIES)


def remove(network: Network) -> str:
    tables = [table_of(family, network) for family in FAMILIES]
    return "".join(f"table {t} {{}}\ndelete table {t}\n" for t in tables)


def _base(network: Network, family: int) -> str:
    t, ip = table_of(family, network), "ip" if family == 4 else "ip6"
    a = "ipv4_addr" if family == 4 else "ipv6_addr"
    loopback = "127.0.0.0/8" if family == 4 else "::1"
    here = f"fib daddr type local {ip} daddr != {loopback}"
    outward = "\n    ".join(
        f'{ip} saddr {pods} {ip} daddr != {pods} oifname != "lo" masquerade'
        for pods in network.ranges(family)
    )
    key = f"{ip} daddr . meta l4proto . th dport"
    node = "meta l4proto . th dport"
    return f"""\
table {t} {{}}
delete table {t}
table {t} {{
  map service-ips {{ type {a} . inet_proto . inet_service : verdict; }}
  map service-nodeports {{ type inet_proto . inet_service : verdict; }}
  map no-endpoint-services {{ type {a} . inet_proto . inet_service : verdict; }}
  map no-endpoint-nodeports {{ type inet_proto . inet_service : verdict; }}
  map endpoints {{ type {a} . inet_proto . inet_service . mark : {a} . inet_service; }}
  map node-endpoints {{ type inet_proto . inet_service . mark : {a} . inet_service; }}
  map slots {{ type {a} . inet_proto . inet_service . mark : mark; }}
  map node-slots {{ type inet_proto . inet_service . mark : mark; }}
  map sticky {{ type {a} . inet_proto . inet_service . mark : {a} . inet_service; }}
  map node-sticky {{ type inet_proto . inet_service . mark : {a} . inet_service; }}
  map affinity {{ type {a} . {a} . inet_proto . inet_service : mark; flags dynamic,timeout; size 262144; }}
  map node-affinity {{ type {a} . inet_proto . inet_service : mark; flags dynamic,timeout; size 262144; }}
  set firewall-ips {{ type {a} . inet_proto . inet_service; }}
  set firewall-allow {{ type {a} . inet_proto . inet_service . {a}; flags interval; }}
  set hairpin {{ type {a} . {a}; }}
  chain reject-chain {{
    reject
  }}
  chain drop-chain {{
    drop
  }}
  chain services {{
    {key} vmap @service-ips
    {here} {node} vmap @service-nodeports
  }}
  chain endpoints-missing {{
    {key} vmap @no-endpoint-services
    {here} {node} vmap @no-endpoint-nodeports
  }}
  chain firewall {{
    {key} @firewall-ips {key} . {ip} saddr != @firewall-allow drop
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
    {ip} saddr . {ip} daddr @hairpin masquerade
    {outward}
  }}
  chain filter-prerouting {{
    type filter hook prerouting priority dstnat - 10; policy accept;
    ct state new jump firewall
  }}
  chain filter-before-output {{
    type filter hook output priority -110; policy accept;
    ct state new jump firewall
  }}
  chain filter-input {{
    type filter hook input priority filter; policy accept;
    ct state new jump endpoints-missing
  }}
  chain filter-forward {{
    type filter hook forward priority filter; policy accept;
    ct state new jump endpoints-missing
  }}
  chain filter-output {{
    type filter hook output priority filter; policy accept;
    ct state new jump endpoints-missing
  }}
}}
"""


def chains(network: Network, kinds: Iterable[Kind]) -> str:
    """The chains of these kinds, as a transaction; for kinds that are not there yet."""
    lines: dict[str, None] = {}
    for kind in kinds:
        t = table_of(kind.family, network)
        for name, rules in _chains_of(network, kind):
            lines[f"add chain {t} {name}"] = None
            lines[f"flush chain {t} {name}"] = None  # a chain that two kinds share is filled once
            for rule in rules:
                lines[f"add rule {t} {name} {rule}"] = None
    return "".join(f"{line}\n" for line in lines)


def _chains_of(network: Network, kind: Kind) -> Iterator[tuple[str, list[str]]]:
    ip, pods = "ip" if kind.family == 4 else "ip6", network.ranges(kind.family)
    mark = f"meta mark set meta mark or {MASQUERADE_MARK}"
    inside = f"{ip} saddr {{ {', '.join(pods)} }}"
    outside = f"{ip} saddr != {{ {', '.join(pods)} }} " if pods else ""
    pick = list(_pick(kind, kind.targets, 0))
    if kind.role == "internal":
        yield kind.chain, [f"{outside}{mark}", *pick]
    elif kind.role == "external":
        yield kind.chain, [mark, *pick]
    else:
        # Upstream's short cut: what comes from inside the cluster is not bound to this node's endpoints.
        short = f"short-{kind.where}-{kind.targets}{f'-{kind.affinity}s' if kind.affinity else ''}"
        rules = []
        if kind.targets:
            yield short, pick
            rules += [f"{inside} goto {short}"] if pods else []
            rules += [f"fib saddr type local {mark}", f"fib saddr type local goto {short}"]
        yield kind.chain, [*rules, *_pick(kind, kind.local, LOCAL_OFFSET)]


def _pick(kind: Kind, count: int, offset: int) -> Iterator[str]:
    if not count:
        return
    ip, prefix = "ip" if kind.family == 4 else "ip6", "" if kind.where == "ip" else "node-"
    key = f"{ip} daddr . meta l4proto . th dport" if kind.where == "ip" else "meta l4proto . th dport"
    draw = f"ct mark set numgen random mod {count}{f' offset {offset}' if offset else ''}"
    yield draw
    if kind.affinity:
        client = f"{ip} saddr . {key}"
        yield f"ct mark set {key} . ct mark map @{prefix}slots"
        # `update` leaves the value of a client that is known, and begins its time anew.
        yield f"update @{prefix}affinity {{ {client} timeout {kind.affinity}s : ct mark }}"
        yield f"ct mark set {client} map @{prefix}affinity"
        for protocol in PROTOCOLS:
            yield f"meta l4proto {protocol} dnat {ip} to {key} . ct mark map @{prefix}sticky"
        # The target is gone: the client is forgotten, and goes anywhere for this once.
        yield f"delete @{prefix}affinity {{ {client} : ct mark }}"
        yield draw
    for protocol in PROTOCOLS:
        yield f"meta l4proto {protocol} dnat {ip} to {key} . ct mark map @{prefix}endpoints"

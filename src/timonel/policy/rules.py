"""What pods are allowed, as nftables chains, sets and elements. Pure.

One table for both families. A map says which pods of this node are isolated, and by which chain; a chain's name is a
hash of its rules, so pods with the same rules share it and a chain never changes: others are made beside it, and the
map turns from one to the other in the transaction that fills their sets.

    map isolated-in-4, -6     {pod address : jump in-X}     for what goes to the pod
    map isolated-out-4, -6    {pod address : jump out-X}    for what comes from it
    set self-4, -6            {address . address}           a pod may always speak with itself
    set pods-X-4, -6          {address}                     the pods that a rule's selectors name
    set ports-X-4, -6         {address . protocol . port}   the same with a named port of theirs
    chain in-X, out-X                                       `return` for what is allowed, in the end `drop`

Only forwarded packets are looked at: what a node says to its own pods (probes) is always allowed, and pods of the
host's network are not isolated. What belongs to a connection that was allowed once goes on; a change of policies
concerns new connections.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from timonel.netfilter.elements import INET, Spot, Value, packed
from timonel.policy.model import EGRESS, INGRESS, Peers, Pod, Port, Rule, everyone
from timonel.records import dataclass

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
SHORT = {INGRESS: "in", EGRESS: "out"}
FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Chain:
    """`peers` are the groups whose sets its rules name."""

    name: str
    rules: tuple[str, ...]
    peers: tuple[Peers, ...]


def base(table: str) -> str:
    lines = [f"table inet {table} {{}}", f"delete table inet {table}", f"table inet {table} {{"]
    for family in FAMILIES:
        a = _type(family)
        lines += [f"  map isolated-{way}-{family} {{ type {a} : verdict; }}" for way in SHORT.values()]
        lines.append(f"  set self-{family} {{ type {a} . {a}; }}")
    lines += [
        "  chain forward {",
        "    type filter hook forward priority filter - 5; policy accept;",
        "    ct state established,related accept",
        *(f"    {ip} saddr . {ip} daddr @self-{f} accept" for f, ip in ((4, "ip"), (6, "ip6"))),
        *(f"    {ip} saddr vmap @isolated-out-{f}" for f, ip in ((4, "ip"), (6, "ip6"))),
        *(f"    {ip} daddr vmap @isolated-in-{f}" for f, ip in ((4, "ip"), (6, "ip6"))),
        "  }",
        "}",
        "",
    ]
    return "\n".join(lines)


def remove(table: str) -> str:
    return f"table inet {table} {{}}\ndelete table inet {table}\n"


def chain_of(pod: Pod, rules: Iterable[Rule], direction: str) -> Chain:
    """The chain for a pod that is isolated: the same for all pods that are allowed the same."""
    found: dict[str, None] = {}
    peers: dict[Peers, None] = {}
    for rule in rules:
        for line, named in _lines(pod, rule, direction):
            found[line] = None
            peers.update(dict.fromkeys(named))
    text = tuple(sorted(found))
    digest = hashlib.sha256("\n".join((direction, *text)).encode()).hexdigest()[:12]
    return Chain(f"{SHORT[direction]}-{digest}", (*text, "drop"), tuple(peers))


def _lines(pod: Pod, rule: Rule, direction: str) -> Iterator[tuple[str, tuple[Peers, ...]]]:
    end = "saddr" if direction == INGRESS else "daddr"
    whom = list(_whom(rule, end))
    if not rule.ports:
        yield from ((f"{condition}return", peers) for condition, peers in whom)
    for port in rule.ports:
        if port.name and direction == EGRESS:  # the name means a port of the other pod
            if rule.anyone or rule.peers is not None:
                named = rule.peers or everyone(pod.key.namespace)
                yield from _named(Peers(named.namespace, named.selectors, port))
            continue
        ports = _ports(port, pod)
        if ports:
            yield from ((f"{condition}{ports} return", peers) for condition, peers in whom)


def _whom(rule: Rule, end: str) -> Iterator[tuple[str, tuple[Peers, ...]]]:
    if rule.anyone:
        yield "", ()
    if rule.peers is not None:
        for family, ip in ((4, "ip"), (6, "ip6")):
            yield f"{ip} {end} @pods-{rule.peers.id}-{family} ", (rule.peers,)
    for ip, mark in (("ip", "."), ("ip6", ":")):
        blocks = [b for b in rule.blocks if mark in b]
        for block in blocks:
            yield f"{ip} {end} {block} ", ()


def _ports(port: Port, pod: Pod) -> str:
    """Empty: the pod has no port of this name, and nothing is allowed."""
    first, last = port.first, port.last
    if port.name:
        first = last = pod.ports.get((port.name, port.protocol), 0)
        if not first:
            return ""
    if not first:
        return f"meta l4proto {port.protocol}"
    return f"{port.protocol} dport {first}" + (f"-{last}" if last != first else "")


def _named(peers: Peers) -> Iterator[tuple[str, tuple[Peers, ...]]]:
    for family, ip in ((4, "ip"), (6, "ip6")):
        yield f"{ip} daddr . meta l4proto . th dport @ports-{peers.id}-{family} return", (peers,)


# ---- text


def additions(table: str, chains: Iterable[Chain], peers: Iterable[Peers]) -> str:
    lines = []
    for group in peers:
        for family in FAMILIES:
            kind = _type(family) + (" . inet_proto . inet_service" if group.port else "")
            lines.append(f"add set inet {table} {set_of(group, family)} {{ type {kind}; }}")
    for chain in chains:
        lines.append(f"add chain inet {table} {chain.name}")
        lines += [f"add rule inet {table} {chain.name} {rule}" for rule in chain.rules]
    return "".join(f"{line}\n" for line in lines)


def removals(table: str, chains: Iterable[str], peers: Iterable[Peers]) -> str:
    names = list(chains)
    lines = [f"flush chain inet {table} {name}" for name in names]
    lines += [f"delete chain inet {table} {name}" for name in names]
    lines += [f"delete set inet {table} {set_of(group, family)}" for group in peers for family in FAMILIES]
    return "".join(f"{line}\n" for line in lines)


def set_of(peers: Peers, family: int) -> str:
    return f"{'ports' if peers.port else 'pods'}-{peers.id}-{family}"


def _type(family: int) -> str:
    return "ipv4_addr" if family == 4 else "ipv6_addr"


# ---- elements


def isolation(pod: Pod, chains: Mapping[str, str]) -> dict[Spot, Value]:
    """`chains`: direction -> name, where the pod is isolated."""
    found: dict[Spot, Value] = {}
    for ip in pod.ips if chains else ():
        address, family = packed(ip), 6 if ":" in ip else 4
        for direction, chain in chains.items():
            found[INET, f"isolated-{SHORT[direction]}-{family}", address] = f"jump {chain}"
        found[INET, f"self-{family}", address * 2] = b""
    return found


def membership(pod: Pod, peers: Peers) -> dict[Spot, Value]:
    """The elements of a pod in the sets of a group that it belongs to."""
    found: dict[Spot, Value] = {}
    for ip in pod.ips:
        key, family = packed(ip), 6 if ":" in ip else 4
        if peers.port is not None:
            number = pod.ports.get((peers.port.name, peers.port.protocol))
            if number is None:
                continue
            key += (
                bytes([PROTOCOL_NUMBERS[peers.port.protocol], 0, 0, 0]) + number.to_bytes(2, "big") + b"\0\0"
            )
        found[INET, set_of(peers, family), key] = b""
    return found

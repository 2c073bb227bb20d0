"""Service ports as elements of the maps that `ruleset` makes. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from collections.abc import Iterable, Iterator

from timonel.netfilter.elements import Changes, Claims, Spot, Value, packed
from timonel.proxy.model import ServicePort, Target
from timonel.proxy.ruleset import LOCAL_OFFSET, Kind

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


class Elements:
    """What the kernel's maps should hold. `put` and `drop` note changes, `take` hands them over."""

    def __init__(self) -> None:
        self._claims = Claims()
        self._kinds: set[Kind] = set()  # whose chains are there
        self._wanted: dict[Kind, None] = {}

    def put(self, port: ServicePort) -> None:
        for kind in kinds(port):
            if kind not in self._kinds:
                self._wanted[kind] = None
        self._claims.put(port.id, dict(elements(port)))

    def drop(self, owner: str) -> None:
        self._claims.drop(owner)

    def take(self) -> tuple[Changes, tuple[Kind, ...]]:
        """Changes, and the chains that must be there before."""
        wanted = tuple(self._wanted)
        self._kinds.update(wanted)
        self._wanted = {}
        return self._claims.take(), wanted


def kinds(port: ServicePort) -> Iterator[Kind]:
    """The chains that the elements of this port lead to."""
    count, sticky = len(port.targets), port.affinity_seconds
    if count:
        yield Kind("internal", "ip", port.family, count, 0, sticky)
    if port.cluster_targets or port.local_targets:
        if port.external_ips:
            yield _outer(port, "ip")
        if port.node_port:
            yield _outer(port, "node")


def _outer(port: ServicePort, where: str) -> Kind:
    count, sticky = len(port.cluster_targets), port.affinity_seconds
    if port.external_local:
        return Kind("local", where, port.family, count, len(port.local_targets), sticky)
    return Kind("external", where, port.family, count, 0, sticky)


def elements(port: ServicePort) -> Iterator[tuple[Spot, Value]]:
    f = port.family
    proto = struct.pack(">B3xH2x", PROTOCOL_NUMBERS[port.protocol], port.port)
    for ip in port.cluster_ips:
        key = packed(ip) + proto
        if port.targets:
            chain = Kind("internal", "ip", f, len(port.targets), 0, port.affinity_seconds).chain
            yield (f, "service-ips", key), f"goto {chain}"
            yield from _lists(port, "", key, port.targets, ())
        else:
            dropped = port.internal_local and port.cluster_targets
            yield (f, "no-endpoint-services", key), "goto drop-chain" if dropped else "goto reject-chain"
    some = bool(port.cluster_targets or port.local_targets)
    for ip in port.external_ips:
        key = packed(ip) + proto
        if some:
            yield (f, "service-ips", key), f"goto {_outer(port, 'ip').chain}"
            yield from _lists(port, "", key, port.cluster_targets, port.local_targets)
        if not some or (port.external_local and not port.local_targets):
            yield (f, "no-endpoint-services", key), "goto drop-chain" if some else "goto reject-chain"
    if port.node_port:
        key = struct.pack(">B3xH2x", PROTOCOL_NUMBERS[port.protocol], port.node_port)
        if some:
            yield (f, "service-nodeports", key), f"goto {_outer(port, 'node').chain}"
            yield from _lists(port, "node-", key, port.cluster_targets, port.local_targets)
        if not some or (port.external_local and not port.local_targets):
            yield (f, "no-endpoint-nodeports", key), "goto drop-chain" if some else "goto reject-chain"
    for ip in port.guarded_ips:
        key = packed(ip) + proto
        yield (f, "firewall-ips", key), b""
        for network in map(ipaddress.ip_network, port.source_ranges):
            first, last = network.network_address.packed, network.broadcast_address.packed
            yield (f, "firewall-allow", (key + first, key + last)), b""
    for target in {t for t in (*port.targets, *port.cluster_targets) if t.local}:
        yield (f, "hairpin", packed(target.ip) * 2), b""


def _lists(
    port: ServicePort, prefix: str, key: bytes, first: Iterable[Target], second: Iterable[Target]
) -> Iterator[tuple[Spot, Value]]:
    for offset, targets in ((0, first), (LOCAL_OFFSET, second)):
        for n, target in enumerate(targets, offset):
            index = struct.pack("=I", n)
            data = packed(target.ip) + struct.pack(">H2x", target.port)
            yield (port.family, f"{prefix}endpoints", key + index), data
            if port.affinity_seconds:
                number = slot(target)
                yield (port.family, f"{prefix}slots", key + index), number
                yield (port.family, f"{prefix}sticky", key + number), data


def slot(target: Target) -> bytes:
    """A number for a target that stays the same whatever others come and go."""
    return hashlib.blake2b(f"{target.ip}/{target.port}".encode(), digest_size=4).digest()

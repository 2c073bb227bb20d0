"""Service ports as elements of the maps that `ruleset` makes, and what changes between two states of them. Pure.

An element has at most one value but may be claimed by several service ports (a pod's hairpin by all that lead to it;
an external address by two Services): the first claim in the order of names holds, the others wait behind it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from collections.abc import Iterable, Iterator

from timonel.proxy.model import ServicePort, Target
from timonel.proxy.ruleset import LOCAL_OFFSET, Kind
from timonel.records import dataclass

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
Spot = tuple[int, str, bytes]  # family, map or set, key
Value = bytes | str  # data, or the chain that a verdict goes to; b"" in sets


@dataclass(frozen=True, slots=True)
class Changes:
    """What leaves and what enters; an element that gets another value does both. `kinds` are the chains it needs."""

    delete: tuple[Spot, ...] = ()
    add: tuple[tuple[Spot, Value], ...] = ()
    kinds: tuple[Kind, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.delete or self.add)


class Elements:
    """What the kernel's maps should hold. `put` and `drop` note changes, `take` hands them over."""

    def __init__(self) -> None:
        self._of: dict[str, dict[Spot, Value]] = {}
        self._claims: dict[Spot, dict[str, Value]] = {}
        self._before: dict[Spot, Value | None] = {}  # of the elements touched since the last `take`
        self._kinds: set[Kind] = set()  # whose chains are there
        self._wanted: dict[Kind, None] = {}

    def put(self, port: ServicePort) -> None:
        found = dict(elements(port))
        for kind in kinds(port):
            if kind not in self._kinds:
                self._wanted[kind] = None
        self._replace(port.id, found)

    def drop(self, owner: str) -> None:
        self._replace(owner, {})

    def _replace(self, owner: str, new: dict[Spot, Value]) -> None:
        old = self._of.pop(owner, {})
        for spot in old.keys() - new.keys():
            self._touch(spot)
            del self._claims[spot][owner]
            if not self._claims[spot]:
                del self._claims[spot]
        for spot, value in new.items():
            if old.get(spot) != value:
                self._touch(spot)
                self._claims.setdefault(spot, {})[owner] = value
        if new:
            self._of[owner] = new

    def _touch(self, spot: Spot) -> None:
        if spot not in self._before:
            self._before[spot] = self._value(spot)

    def _value(self, spot: Spot) -> Value | None:
        claims = self._claims.get(spot)
        return claims[min(claims)] if claims else None

    def take(self) -> Changes:
        delete: list[Spot] = []
        add: list[tuple[Spot, Value]] = []
        for spot, old in self._before.items():
            new = self._value(spot)
            if old == new:
                continue
            if old is not None:
                delete.append(spot)
            if new is not None:
                add.append((spot, new))
        made = Changes(tuple(delete), tuple(add), tuple(self._wanted))
        self._kinds.update(self._wanted)
        self._before, self._wanted = {}, {}
        return made


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
            yield (f, "service-ips", key), chain
            yield from _lists(port, "", key, port.targets, ())
        else:
            dropped = port.internal_local and port.cluster_targets
            yield (f, "no-endpoint-services", key), "drop-chain" if dropped else "reject-chain"
    some = bool(port.cluster_targets or port.local_targets)
    for ip in port.external_ips:
        key = packed(ip) + proto
        if some:
            yield (f, "service-ips", key), _outer(port, "ip").chain
            yield from _lists(port, "", key, port.cluster_targets, port.local_targets)
        if not some or (port.external_local and not port.local_targets):
            yield (f, "no-endpoint-services", key), "drop-chain" if some else "reject-chain"
    if port.node_port:
        key = struct.pack(">B3xH2x", PROTOCOL_NUMBERS[port.protocol], port.node_port)
        if some:
            yield (f, "service-nodeports", key), _outer(port, "node").chain
            yield from _lists(port, "node-", key, port.cluster_targets, port.local_targets)
        if not some or (port.external_local and not port.local_targets):
            yield (f, "no-endpoint-nodeports", key), "drop-chain" if some else "reject-chain"
    for ip in port.guarded_ips:
        key = packed(ip) + proto
        yield (f, "firewall-ips", key), b""
        for network in map(ipaddress.ip_network, port.source_ranges):
            first, last = network.network_address.packed, network.broadcast_address.packed
            yield (f, "firewall-allow", key + first + key + last), b""
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


def packed(ip: str) -> bytes:
    return ipaddress.ip_address(ip).packed if ":" in ip else bytes(map(int, ip.split(".")))

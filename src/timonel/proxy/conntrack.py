"""UDP flows that go on to where a Service no longer leads: found in the kernel's connection tracking and forgotten.

A UDP client that never pauses keeps its entry alive, and with it an endpoint that is gone, or the lack of one. TCP
needs no help: its connections end by themselves.

Upstream: pkg/proxy/conntrack/cleanup.go. The format: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping

from timonel.netfilter.elements import packed
from timonel.netfilter.messages import (
    BUFFER,
    FAMILY_NUMBERS,
    NESTED,
    NETLINK_NETFILTER,
    NLM_F_REQUEST,
    SOL_SOCKET_RCVBUFFORCE,
    attribute,
    message,
    messages,
)
from timonel.proxy.elements import PROTOCOL_NUMBERS
from timonel.proxy.model import ServicePort
from timonel.records import dataclass

SUBSYSTEM, GET, DELETE = 1, 1, 2
NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x300, 2, 3
TUPLE_ORIG, TUPLE_REPLY = 1, 2
UDP = PROTOCOL_NUMBERS["udp"]
Wanted = Mapping[tuple[bytes, int], frozenset[tuple[bytes, int]]]


@dataclass(frozen=True, slots=True)
class Flow:
    """`asked` is where the client sends to, `served` who answers; `original` names the entry to the kernel."""

    family: int
    protocol: int
    asked: tuple[bytes, int]
    served: tuple[bytes, int]
    original: bytes


def wanted(ports: Iterable[ServicePort]) -> Wanted:
    """Where the UDP ports of Services may lead, by address and port; node ports are under no address."""
    found: dict[tuple[bytes, int], frozenset[tuple[bytes, int]]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        all_targets = (*port.targets, *port.cluster_targets, *port.local_targets)
        targets = frozenset((packed(t.ip), t.port) for t in all_targets)
        for ip in (*port.cluster_ips, *port.external_ips):
            found[packed(ip), port.port] = targets
        if port.node_port:
            found[b"", port.node_port] = found.get((b"", port.node_port), frozenset()) | targets
    return found


def stale(flows: Iterable[Flow], leads: Wanted) -> Iterator[Flow]:
    for flow in flows:
        targets = leads.get(flow.asked)
        if targets is None:
            targets = leads.get((b"", flow.asked[1]))
        if flow.protocol == UDP and targets is not None and flow.served not in targets:
            yield flow


def forget_stale(leads: Wanted) -> int:
    """Look through the table of this network namespace; how many entries were forgotten. Blocks."""
    if not leads:
        return 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.setsockopt(socket.SOL_SOCKET, SOL_SOCKET_RCVBUFFORCE, BUFFER)
        channel.bind((0, 0))
        channel.settimeout(5)
        found = [flow for family in (4, 6) for flow in stale(list(_dump(channel, family)), leads)]
        for n, flow in enumerate(found):
            body = attribute(TUPLE_ORIG | NESTED, flow.original)
            number = FAMILY_NUMBERS[flow.family]
            channel.sendto(
                message(SUBSYSTEM << 8 | DELETE, number, body, flags=NLM_F_REQUEST, sequence=n + 10), (0, 0)
            )
        return len(found)


def _dump(channel: socket.socket, family: int) -> Iterator[Flow]:
    flags = NLM_F_REQUEST | NLM_F_DUMP
    number = FAMILY_NUMBERS[family]
    channel.sendto(message(SUBSYSTEM << 8 | GET, number, b"", flags=flags, sequence=family), (0, 0))
    while True:
        for kind, payload in messages(channel.recv(1 << 18)):
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                return
            flow = parse(payload[4:], family)
            if flow is not None:
                yield flow


def parse(payload: bytes, family: int) -> Flow | None:
    """None for what has no ports."""
    top = attributes(payload)
    if TUPLE_ORIG not in top or TUPLE_REPLY not in top:
        return None
    original, reply = attributes(top[TUPLE_ORIG]), attributes(top[TUPLE_REPLY])
    protocol, ports, answer = attributes(original[2]), attributes(original[2]), attributes(reply[2])
    if 3 not in ports or 2 not in answer:
        return None
    source, destination = (1, 2) if family == 4 else (3, 4)
    return Flow(
        family=family,
        protocol=protocol[1][0],
        asked=(attributes(original[1])[destination], struct.unpack(">H", ports[3])[0]),
        served=(attributes(reply[1])[source], struct.unpack(">H", answer[2])[0]),
        original=top[TUPLE_ORIG],
    )


def attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += length + (-length % 4)
    return found

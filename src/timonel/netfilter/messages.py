"""The kernel's own way in: elements of nftables maps as netlink messages, each batch one transaction.

`nft` reads the whole ruleset before it changes anything; here a change costs what it is. Only elements are written
this way, tables and chains go through nft (`apply`).

The format: include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator

from timonel.netfilter.elements import INET, Changes, Key, Spot, Value

NETLINK_NETFILTER = 12
SOL_SOCKET_SNDBUFFORCE, SOL_SOCKET_RCVBUFFORCE = 32, 33
BUFFER = 64 << 20  # a transaction is one datagram
BATCH_BEGIN, BATCH_END = 0x10, 0x11
SUBSYSTEM = 10
NEWSETELEM, DELSETELEM = 12, 14
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
NLMSG_ERROR = 2
VERDICTS = {"jump": -3, "goto": -4}
NESTED = 0x8000
MOST = 30_000  # bytes of elements per message: an attribute has room for 64 KiB
FAMILY_NUMBERS = {4: socket.AF_INET, 6: socket.AF_INET6, INET: 1}
LIST_TABLE, LIST_SET, LIST_ELEMENTS = 1, 2, 3
ELEM_KEY, ELEM_DATA, ELEM_KEY_END = 1, 2, 10


class Refused(OSError):
    """The kernel did not take a transaction; nothing of it was applied."""


def attribute(kind: int, payload: bytes) -> bytes:
    length = len(payload) + 4
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-length % 4)


def message(kind: int, family: int, payload: bytes, *, flags: int, sequence: int, resource: int = 0) -> bytes:
    return (
        struct.pack(
            "=IHHIIBBH", 20 + len(payload), kind, flags, sequence, 0, family, 0, socket.htons(resource)
        )
        + payload
    )


def transaction(table: str, changes: Changes) -> bytes:
    """All of it or nothing. Deletions come first, so that an element may get another value."""
    sequence = 1
    parts = [message(BATCH_BEGIN, 0, b"", flags=NLM_F_REQUEST, sequence=0, resource=SUBSYSTEM)]
    deletions = ((spot, None) for spot in changes.delete)
    for kind, flags, found in (
        (DELSETELEM, NLM_F_REQUEST, deletions),
        (NEWSETELEM, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, changes.add),
    ):
        for family, name, encoded in _grouped(found):
            payload = (
                attribute(LIST_TABLE, table.encode() + b"\0")
                + attribute(LIST_SET, name.encode() + b"\0")
                + attribute(LIST_ELEMENTS | NESTED, encoded)
            )
            number = FAMILY_NUMBERS[family]
            parts.append(message(SUBSYSTEM << 8 | kind, number, payload, flags=flags, sequence=sequence))
            sequence += 1
    parts.append(message(BATCH_END, 0, b"", flags=NLM_F_REQUEST, sequence=sequence, resource=SUBSYSTEM))
    return b"".join(parts)


def _grouped(found: Iterable[tuple[Spot, Value | None]]) -> Iterator[tuple[int, str, bytes]]:
    """The elements of each map together, in pieces that fit a message."""
    waiting: dict[tuple[int, str], list[bytes]] = {}
    sizes: dict[tuple[int, str], int] = {}
    for (family, name, key), value in found:
        where, encoded = (family, name), _element(key, value)
        if sizes.get(where, 0) + len(encoded) > MOST:
            yield family, name, b"".join(waiting.pop(where))
            sizes[where] = 0
        waiting.setdefault(where, []).append(encoded)
        sizes[where] = sizes.get(where, 0) + len(encoded)
    for (family, name), parts in waiting.items():
        yield family, name, b"".join(parts)


def _element(key: Key, value: Value | None) -> bytes:
    end = b""
    if isinstance(key, tuple):
        key, last = key
        end = attribute(ELEM_KEY_END | NESTED, attribute(1, last))
    body = attribute(ELEM_KEY | NESTED, attribute(1, key)) + end
    if isinstance(value, str):
        kind, chain = value.split(" ")
        verdict = attribute(1, struct.pack(">i", VERDICTS[kind])) + attribute(2, chain.encode() + b"\0")
        body += attribute(ELEM_DATA | NESTED, attribute(2 | NESTED, verdict))
    elif value:
        body += attribute(ELEM_DATA | NESTED, attribute(1, value))
    return attribute(1 | NESTED, body)


def send(data: bytes) -> None:
    """Hand a transaction to the kernel, in the network namespace of this thread; raises Refused with the reason."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        for option in (SOL_SOCKET_SNDBUFFORCE, SOL_SOCKET_RCVBUFFORCE):
            channel.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        channel.bind((0, 0))
        channel.sendto(data, (0, 0))
        for kind, payload in answers(channel):
            code = struct.unpack_from("=i", payload)[0] if kind == NLMSG_ERROR else 0
            if code:
                raise Refused(-code, os.strerror(-code))


def answers(channel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """What has been answered already: the kernel works off a transaction while it is sent."""
    while True:
        try:
            data = channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        yield from messages(data)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            return
        yield kind, data[at + 16 : at + length]
        at += length + (-length % 4)

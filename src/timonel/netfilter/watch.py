"""Notices when somebody else removes a table of ours (`nft flush ruleset`): the kernel tells of every change."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from timonel.netfilter.messages import NETLINK_NETFILTER, SUBSYSTEM, messages
from timonel.records import dataclass

SOL_NETLINK, ADD_MEMBERSHIP, NFTABLES_GROUP = 270, 1, 7
NEWTABLE, DELTABLE = SUBSYSTEM << 8 | 0, SUBSYSTEM << 8 | 2
TABLE_NAME = 1


@dataclass(frozen=True, slots=True)
class TableChange:
    name: str
    is_there: bool


def table_changes(data: bytes) -> list[TableChange]:
    """What notifications say of tables; nearly all of them are about elements, and passed over by their head."""
    found = []
    for kind, payload in messages(data):
        if kind in (NEWTABLE, DELTABLE):
            name = _name(payload[4:])
            if name:
                found.append(TableChange(name, kind == NEWTABLE))
    return found


def _name(data: bytes) -> str:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if kind & 0x3FFF == TABLE_NAME:
            return data[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += max(4, length + (-length % 4))
    return ""


def listen() -> socket.socket:
    """Notifications of the network namespace that this thread is in."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
    try:
        channel.bind((0, 0))
        channel.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NFTABLES_GROUP)
    except BaseException:
        channel.close()
        raise
    return channel


class TableWatch:
    """Calls `gone` when a table of this name is removed and not made again at once. The owner calls `close`."""

    def __init__(self, channel: socket.socket, table: str, gone: Callable[[], None]) -> None:
        self._channel, self._table, self._gone = channel, table, gone
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._channel)
        self._channel.close()

    def _read(self) -> None:
        is_there = True
        while True:
            try:
                data = self._channel.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:  # more than there was room for: what was lost cannot be known
                continue
            for change in table_changes(data):
                if change.name == self._table:
                    is_there = change.is_there
        if not is_there:
            self._gone()

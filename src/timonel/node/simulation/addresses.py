"""Addresses of a range: given out, known to be in use, given back. Pure.

Upstream: the CNI plugin host-local (its words where a range is exhausted).
"""

from __future__ import annotations

import ipaddress

FIRST = 2  # the first address is the network's, the second the gateway's


class NoAddress(Exception):
    """All addresses of a range are in use."""


class Addresses:
    """Those that `seen` was told of are not given; freed ones are in the end, when all others were given."""

    def __init__(self, network: str | ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
        found = ipaddress.ip_network(network, strict=False)
        self._first, self._size = int(found.network_address), found.num_addresses
        self._version = type(found.network_address)
        self._next = FIRST  # all before it are in use or freed, of the others only those ahead are in use
        self._freed: dict[int, None] = {}
        self._ahead: set[int] = set()

    def take(self) -> str:
        """Raises NoAddress."""
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1
        if self._next < self._size - 1:
            self._next += 1
            return self._text(self._next - 1)
        if not self._freed:
            ends = (
                f"{self._text(1)}-{self._text(max(self._size - 2, 1))}" if self._size > 1 else self._text(0)
            )
            raise NoAddress(f"no IP addresses available in range set: {ends}")
        oldest = next(iter(self._freed))
        del self._freed[oldest]
        return self._text(oldest)

    def seen(self, address: str) -> bool:
        """Somebody has it. False if it is of another range, or known to be in use."""
        offset = self._offset(address)
        if not FIRST <= offset < self._size:
            return False
        if offset < self._next:
            if offset not in self._freed:
                return False
            del self._freed[offset]
            return True
        is_new = offset not in self._ahead
        self._ahead.add(offset)
        return is_new

    def free(self, address: str) -> None:
        offset = self._offset(address)
        if FIRST <= offset < self._next:
            self._freed[offset] = None
        else:
            self._ahead.discard(offset)

    def _text(self, offset: int) -> str:
        return str(self._version(self._first + offset))

    def _offset(self, address: str) -> int:
        try:
            return int(ipaddress.ip_address(address)) - self._first
        except ValueError:
            return -1

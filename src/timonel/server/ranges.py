"""Ranges of addresses and ports: which numbers they have, who owns which, and which is given out next.

Numbers are handed out in turn from the upper band of a range; the lower band is left to those that ask for a number of
their own. The addresses of one family are one book, however many ranges they come from, for ranges may overlap.

Upstream: pkg/registry/core/service/{ipallocator,portallocator}.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable

from timonel.objects.meta import Key

IPV4, IPV6 = "IPv4", "IPv6"


class Unavailable(Exception):
    """The asked-for address or port cannot be had; the text goes into a message."""


class Numbers:
    """A range of numbers; `owners` says whose they are. Knows no addresses and no ports, only ints."""

    def __init__(self, first: int, last: int, reserved: int, owners: dict[int, Key]) -> None:
        self.first, self.last = first, last
        self._dynamic = min(first + reserved, last)  # the lower band ends here
        self._next = self._dynamic
        self._owners = owners

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def next_free(self, taken: Collection[int] = ()) -> int:
        """A free number, the upper band first; raises Unavailable."""
        for low, high, start in (
            (self._dynamic, self.last, self._next),
            (self.first, self._dynamic - 1, self.first),
        ):
            size = high - low + 1
            for step in range(max(size, 0)):
                number = low + (start - low + step) % size
                if number not in self._owners and number not in taken:
                    if low == self._dynamic:
                        self._next = number + 1 if number < self.last else low
                    return number
        raise Unavailable("range is full")


def family_of(text: str) -> str:
    """Of an address or a range."""
    return IPV6 if ":" in text else IPV4


def number_of(address: str) -> int:
    return int(ipaddress.ip_address(address))


def contains(cidr: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


class AddressPool:
    """All cluster addresses of one family. `cidr` is the range that is always there; others come and go."""

    def __init__(self, cidr: str) -> None:
        self.family = family_of(cidr)
        self._owners: dict[int, Key] = {}
        self._own = cidr
        self._ranges = {cidr: self._numbers(cidr)}
        self._make: Callable[[int], object] = (
            ipaddress.IPv4Address if self.family == IPV4 else ipaddress.IPv6Address
        )

    def _numbers(self, cidr: str) -> Numbers:
        network = ipaddress.ip_network(cidr)
        size = network.num_addresses
        first, last = int(network.network_address) + 1, int(network.broadcast_address)
        reserved = min(max(16, size // 16), 256) - 1
        return Numbers(first, last - 1 if self.family == IPV4 else last, reserved, self._owners)

    def extend(self, cidrs: Iterable[str]) -> None:
        """These are the ranges besides its own now; those of the other family are none of its business."""
        wanted = dict.fromkeys((self._own, *(c for c in cidrs if family_of(c) == self.family)))
        self._ranges = {cidr: self._ranges.get(cidr) or self._numbers(cidr) for cidr in wanted}

    def check(self, address: str, *, dry_run: bool) -> None:
        """As upstream, a dry run does not look whether the address is free."""
        number = number_of(address)
        if not any(number in numbers for numbers in self._ranges.values()):
            raise Unavailable("the provided network does not match the current range")
        if number in self._owners and not dry_run:
            raise Unavailable("provided IP is already allocated")

    def __contains__(self, address: str) -> bool:
        return any(number_of(address) in numbers for numbers in self._ranges.values())

    def next_free(self, taken: Collection[int] = ()) -> str:
        for numbers in self._ranges.values():
            try:
                return str(self._make(numbers.next_free(taken)))
            except Unavailable:
                continue
        raise Unavailable("range is full")

    def owner(self, address: str) -> Key | None:
        return self._owners.get(number_of(address))

    def take(self, address: str, owner: Key) -> None:
        self._owners[number_of(address)] = owner

    def release(self, address: str, owner: Key) -> None:
        if self.owner(address) == owner:
            del self._owners[number_of(address)]


class PortRange:
    def __init__(self, first: int = 30000, last: int = 32767) -> None:
        size = last - first + 1
        self._owners: dict[int, Key] = {}
        reserved = min(max(16, size // 32), 128) if size > 32 else 0
        self._numbers = Numbers(first, last, reserved, self._owners)
        self.first, self.last = first, last

    def check(self, port: int, *, dry_run: bool) -> None:
        """As upstream, a dry run does not look whether the port is in the range."""
        if port not in self._numbers and not dry_run:
            valid = f"{self._numbers.first}-{self._numbers.last}"
            raise Unavailable(f"provided port is not in the valid range. The range of valid ports is {valid}")
        if port in self._owners:
            raise Unavailable("provided port is already allocated")

    def next_free(self, taken: Collection[int]) -> int:
        return self._numbers.next_free(taken)

    def take(self, port: int, owner: Key) -> None:
        if port in self._numbers:
            self._owners[port] = owner

    def release(self, port: int, owner: Key) -> None:
        if self._owners.get(port) == owner:
            del self._owners[port]

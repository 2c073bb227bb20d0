"""Other people's names: asks the machine's own resolvers, in order, and caches nothing.

The resolvers are those of /etc/resolv.conf as it was when the node started; a resolver that points back at this
server is left out, as it would make a loop.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import dns.exception
import dns.message

from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class Upstream:
    address: str
    port: int = 53


class NoAnswer(Exception):
    """No upstream resolver answered, or there is none."""


def upstreams(resolv_conf: str, own: Iterable[str]) -> tuple[Upstream, ...]:
    """The nameservers that a resolv.conf's text names, without our own addresses."""
    ours = set(own)
    found = []
    for line in resolv_conf.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in ours:
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append(Upstream(words[1]))
    return tuple(found)


class Forwarder:
    def __init__(self, resolvers: Sequence[Upstream], *, timeout: float = 2.0) -> None:
        self._resolvers = tuple(resolvers)
        self._timeout = timeout

    async def ask(self, query: dns.message.Message, *, tcp: bool = False) -> dns.message.Message:
        """The first answer that comes; raises NoAnswer."""
        import dns.asyncquery  # here: it brings HTTP clients along, 10 MB of them, and many nodes forward nothing

        for resolver in self._resolvers:
            try:
                if tcp:
                    return await dns.asyncquery.tcp(
                        query, resolver.address, timeout=self._timeout, port=resolver.port
                    )
                return await dns.asyncquery.udp(
                    query, resolver.address, timeout=self._timeout, port=resolver.port, ignore_unexpected=True
                )
            except (dns.exception.DNSException, OSError):
                continue
        raise NoAnswer("no upstream resolver answered")

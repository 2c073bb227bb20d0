"""Other people's names: asks the servers that the settings name, in order, and keeps answers for a short while."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import dns.exception
import dns.message

from timonel.aio.clock import Clock
from timonel.dns import wire
from timonel.dns.packet import Query
from timonel.dns.settings import Forwarding, Upstream

LONGEST_KEPT, MOST_KEPT = 30.0, 10_000  # seconds, answers; as CoreDNS's default configuration


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
    """`settings` may be set anew at any time; what was kept under the old ones is forgotten."""

    def __init__(self, settings: Forwarding, clock: Clock, *, timeout: float = 2.0) -> None:
        self._settings, self._clock, self._timeout = settings, clock, timeout
        self._kept: dict[tuple[str, int, bool], tuple[float, dns.message.Message]] = {}
        self.asked = self.hits = self.failures = 0

    @property
    def settings(self) -> Forwarding:
        return self._settings

    @settings.setter
    def settings(self, new: Forwarding) -> None:
        self._settings = new
        self._kept.clear()

    async def ask(self, query: Query, *, tcp: bool = False) -> dns.message.Message:
        """The first answer that comes; raises NoAnswer."""
        key = (query.name, query.type, query.dnssec)
        until, kept = self._kept.get(key, (0.0, None))
        if kept is not None and self._clock.monotonic() < until:
            self.hits += 1
            return kept
        self.asked += 1
        try:
            message = await self._fetch(query, tcp=tcp)
        except NoAnswer:
            self.failures += 1
            raise
        seconds = wire.lifetime(message, LONGEST_KEPT)
        self._kept.pop(key, None)
        if seconds:
            while len(self._kept) >= MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (self._clock.monotonic() + seconds, message)
        return message

    async def _fetch(self, query: Query, *, tcp: bool) -> dns.message.Message:
        import dns.asyncquery  # here: it brings HTTP clients along, 10 MB of them, and many nodes forward nothing

        try:
            message = wire.outgoing(query)
        except (dns.exception.DNSException, ValueError) as exc:
            raise NoAnswer(str(exc)) from exc
        for resolver in self._settings.servers(query.name):
            try:
                if tcp:
                    return await dns.asyncquery.tcp(
                        message, resolver.address, timeout=self._timeout, port=resolver.port
                    )
                return await dns.asyncquery.udp(
                    message,
                    resolver.address,
                    timeout=self._timeout,
                    port=resolver.port,
                    ignore_unexpected=True,
                )
            except (dns.exception.DNSException, OSError):
                continue
        raise NoAnswer("no upstream resolver answered")

"""The DNS server of a node: UDP and TCP on one address, a `Zone` that others replace, a forwarder for the rest."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import dns.exception
import dns.rcode
import dns.rrset

from timonel.aio.clock import Clock, SystemClock
from timonel.dns import packet, wire
from timonel.dns.forward import Forwarder, NoAnswer
from timonel.dns.metrics import Counts
from timonel.dns.packet import Query, Refusal, Sections
from timonel.dns.records import Answer, Zone, look_up

logger = logging.getLogger(__name__)

MAX_FORWARDED = 1000  # queries waiting for upstream resolvers at once; more fail
MOST_CONNECTIONS = 500
MOST_ALIASES = 8  # names that lead to names
TCP_IDLE = 10.0
MOST_ANSWERS = 20_000  # encoded answers kept for one picture of the cluster


class DnsServer:
    """Serves until cancelled. `zone` is called for each query, so it must be cheap: it returns the current value."""

    name = "dns"

    def __init__(
        self,
        *,
        address: str,
        port: int,
        zone: Callable[[], Zone],
        forwarder: Forwarder,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self.address, self.port = address, port
        self.counts = Counts()
        self._zone, self.forwarder = zone, forwarder
        self._clock = clock or SystemClock()
        self._shuffle = random.Random(seed)
        self._waiting = 0
        self._connections = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._answered: Zone | None = None  # the zone that `_answers` are from
        self._answers: dict[tuple[str, int], Sections | None] = {}

    async def run(self, ready: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            self._tasks = group
            tcp = await asyncio.start_server(self._serve_tcp, self.address, self.port, reuse_address=True)
            self.port = tcp.sockets[0].getsockname()[1]
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Udp(self), local_addr=(self.address, self.port)
            )
            try:
                async with tcp:
                    ready.set()
                    await tcp.serve_forever()
            finally:
                transport.close()

    def metrics(self) -> str:
        f = self.forwarder
        return self.counts.text(forwarded=f.asked, hits=f.hits, failed=f.failures)

    def datagram(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        """One UDP query: answered at once from the zone, or in a task of its own when it must be forwarded."""
        started = self._clock.monotonic()
        try:
            query = packet.parse(data)
        except Refusal as refusal:
            self.counts.malformed += 1
            if refusal.reply:
                self._count("udp", None, refusal.reply)
                reply(refusal.reply)
            return
        found = self._local(query, udp=True)
        if found is not None:
            self._count("udp", query, found, started)
            reply(found)
        elif self._waiting >= MAX_FORWARDED or self._tasks is None:
            found = packet.failure(query, packet.SERVFAIL)
            self._count("udp", query, found, started)
            reply(found)
        else:
            self._waiting += 1
            self._tasks.create_task(self._forward_udp(query, reply, started))

    def _local(self, query: Query, *, udp: bool) -> bytes | None:
        """None: others must be asked."""
        zone = self._zone()
        if zone is not self._answered:
            self._answered = zone
            self._answers.clear()
        key = (query.name, query.type)
        if key in self._answers:
            sections = self._answers[key]
        else:
            sections = self._sections(zone, query)
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            self._answers[key] = sections
        return None if sections is None else packet.reply(query, sections, udp=udp, shuffle=self._shuffle)

    @staticmethod
    def _sections(zone: Zone, query: Query) -> Sections | None:
        answer = look_up(zone, query.name, query.type_name)
        if answer is None or (_is_alias(answer) and query.type_name not in ("CNAME", "ANY")):
            return None
        try:
            return packet.encode(answer, zone.domain)
        except ValueError:  # a name that the API takes and DNS has no room for
            return Sections(packet.SERVFAIL, ())

    async def _forward_udp(self, query: Query, reply: Callable[[bytes], None], started: float) -> None:
        try:
            found = await self._asked(query, udp=True)
        finally:
            self._waiting -= 1
        self._count("udp", query, found, started)
        reply(found)

    async def _asked(self, query: Query, *, udp: bool) -> bytes:
        """From an upstream resolver; for an ExternalName, the alias and what there is of its target."""
        try:
            return await self._follow(query, udp=udp)
        except (NoAnswer, dns.exception.DNSException, ValueError):
            return packet.failure(query, packet.SERVFAIL)

    async def _follow(self, query: Query, *, udp: bool) -> bytes:
        zone, name = self._zone(), query.name
        aliases: list[tuple[str, str]] = []
        while len(aliases) < MOST_ALIASES:
            answer = look_up(zone, name, query.type_name)
            if answer is None or not _is_alias(answer):
                break
            target = answer.records[0].value
            aliases.append((name, target))
            name = target.lower().rstrip(".")
        else:
            raise NoAnswer("aliases that lead to aliases")
        chain = [dns.rrset.from_text(f"{a}.", packet.TTL, "IN", "CNAME", f"{b}.") for a, b in aliases]
        if answer is None:
            asked = replace(query, name=name, question=_question(name, query)) if aliases else query
            try:
                found = await self.forwarder.ask(asked, tcp=not udp)
            except NoAnswer:
                if not aliases:
                    raise
                found = wire.incoming(wire.outgoing(query), query)  # the alias itself is still true
        else:
            found = wire.incoming(wire.outgoing(query), query)
            if not answer.exists:
                found.set_rcode(dns.rcode.NXDOMAIN)
            for record in answer.records:
                found.answer.append(
                    dns.rrset.from_text(f"{name}.", packet.TTL, "IN", record.type, record.value)
                )
        message = wire.incoming(found, query)
        message.answer = [*chain, *found.answer]
        return wire.to_bytes(message, query, udp=udp)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            while self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(TCP_IDLE):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(length)
                started, query = self._clock.monotonic(), None
                try:
                    query = packet.parse(data)
                    found = self._local(query, udp=False) or await self._asked(query, udp=False)
                except Refusal as refusal:
                    self.counts.malformed += 1
                    found = refusal.reply
                    if not found:
                        break
                self._count("tcp", query, found, started)
                writer.write(len(found).to_bytes(2, "big") + found)
                async with asyncio.timeout(TCP_IDLE):
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._connections -= 1
            writer.close()

    def _count(self, protocol: str, query: Query | None, found: bytes, started: float = 0.0) -> None:
        counts = self.counts
        counts.requests[protocol, query.type_name if query is not None else "other"] += 1
        counts.responses[found[3] & 15] += 1
        if query is not None:
            counts.took(self._clock.monotonic() - started)


def _question(name: str, query: Query) -> bytes:
    return packet.name_bytes(name) + query.question[-4:]


def _is_alias(answer: Answer) -> bool:
    return bool(answer.records) and answer.records[0].type == "CNAME"


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        transport = self._transport
        if transport is not None:
            self._server.datagram(data, lambda answer: transport.sendto(answer, addr))

"""The DNS server of a node: UDP and TCP on one address, a `Zone` that others replace, a forwarder for the rest."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import cast

import dns.exception
import dns.message
import dns.rcode

from timonel.dns import wire
from timonel.dns.forward import Forwarder, NoAnswer
from timonel.dns.records import Answer, Zone, look_up

logger = logging.getLogger(__name__)

MAX_FORWARDED = 1000  # queries waiting for upstream resolvers at once; more are refused
TCP_IDLE = 10.0


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
        seed: int | None = None,
    ) -> None:
        self.address, self.port = address, port
        self._zone, self._forwarder = zone, forwarder
        self._shuffle = random.Random(seed)
        self._waiting = asyncio.Semaphore(MAX_FORWARDED)
        self._tasks: asyncio.TaskGroup | None = None

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

    def datagram(self, packet: bytes, reply: Callable[[bytes], None]) -> None:
        """One UDP query: answered at once from the zone, or in a task of its own when it must be forwarded."""
        try:
            query = wire.parse(packet)
        except wire.BadQuery:
            return
        local = self._local(query)
        if local is not None:
            reply(wire.to_udp(local, query))
        elif self._tasks is not None:
            self._tasks.create_task(self._forward_udp(query, reply))

    def _local(self, query: dns.message.Message) -> dns.message.Message | None:
        zone = self._zone()
        name, type_ = wire.question(query)
        answer = look_up(zone, name, type_)
        if answer is None or _leaves_the_cluster(answer):
            return None
        try:
            return wire.response(query, answer, zone.domain, self._shuffle)
        except dns.exception.DNSException:
            return _failed(query)

    async def _forward_udp(self, query: dns.message.Message, reply: Callable[[bytes], None]) -> None:
        message = await self._forwarded(query, tcp=False)
        try:
            reply(wire.to_udp(message, query))
        except dns.exception.DNSException:  # what a resolver said cannot be said again
            reply(_failed(query).to_wire())

    async def _forwarded(self, query: dns.message.Message, *, tcp: bool) -> dns.message.Message:
        """The answer of an upstream resolver; for an ExternalName, the CNAME and what upstream says of its target."""
        zone = self._zone()
        name, type_ = wire.question(query)
        answer = look_up(zone, name, type_)
        if self._waiting.locked():
            return _failed(query)
        async with self._waiting:
            try:
                if answer is None:
                    return await self._forwarder.ask(query, tcp=tcp)
                message = wire.response(query, answer, zone.domain, self._shuffle)
                target = dns.message.make_query(answer.records[0].value + ".", type_)
                own = self._local(target)
                found = own if own is not None else await self._forwarder.ask(target, tcp=tcp)
                message.answer.extend(found.answer)
                return message
            except NoAnswer:
                if answer is not None:  # the CNAME itself is still true
                    return wire.response(query, answer, zone.domain, self._shuffle)
                return _failed(query)
            except dns.exception.DNSException:
                return _failed(query)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    packet = await reader.readexactly(length)
                query = wire.parse(packet)
                message = self._local(query) or await self._forwarded(query, tcp=True)
                data = message.to_wire()
                writer.write(len(data).to_bytes(2, "big") + data)
                await writer.drain()
        except (
            TimeoutError,
            wire.BadQuery,
            dns.exception.DNSException,
            asyncio.IncompleteReadError,
            OSError,
        ):
            pass
        finally:
            writer.close()


def _failed(query: dns.message.Message) -> dns.message.Message:
    """Also for names that the API takes and DNS has no room for, such as a label of 64 letters in an ExternalName."""
    return wire.refusal(query, dns.rcode.SERVFAIL)


def _leaves_the_cluster(answer: Answer) -> bool:
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

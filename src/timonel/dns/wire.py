"""Messages that come from other servers, by dnspython: what is sent out, and how it is said again to our client."""

from __future__ import annotations

import dns.entropy
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from timonel.dns.packet import CD, RD, Query


def outgoing(query: Query) -> dns.message.Message:
    """The same question for another server; raises DNSException or ValueError for what cannot be asked."""
    packet = query.id.to_bytes(2, "big") + (query.flags & (RD | CD)).to_bytes(2, "big")
    message = dns.message.from_wire(packet + b"\0\1\0\0\0\0\0\0" + query.question)
    if query.edns:
        message.use_edns(0, ednsflags=dns.flags.DO if query.dnssec else 0, payload=1232)
    message.id = dns.entropy.random_16()
    return message


def incoming(message: dns.message.Message, query: Query) -> dns.message.Message:
    """An answer as our client shall see it: its own number and question."""
    made = dns.message.make_response(outgoing(query), recursion_available=True, our_payload=1232)
    made.id = query.id
    made.flags |= message.flags & (dns.flags.AA | dns.flags.TC | dns.flags.AD)
    made.answer, made.authority, made.additional = message.answer, message.authority, message.additional
    made.set_rcode(message.rcode())
    return made


def to_bytes(message: dns.message.Message, query: Query, *, udp: bool) -> bytes:
    """Cut and marked where it does not fit; raises dns.exception.DNSException where it cannot be said."""
    if not udp:
        return message.to_wire()
    try:
        return message.to_wire(max_size=query.size)
    except dns.exception.TooBig:
        message.answer, message.authority, message.additional = [], [], []
        message.flags |= dns.flags.TC
        return message.to_wire(max_size=query.size)


def lifetime(message: dns.message.Message, longest: float) -> float:
    """How long it may be kept: the shortest TTL in it; failures not at all."""
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or message.flags & dns.flags.TC:
        return 0.0
    ttls = [rrset.ttl for section in (message.answer, message.authority) for rrset in section]
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA and not message.answer:
            ttls.append(rrset[0].minimum)
    return min([longest, *map(float, ttls)]) if ttls else 0.0

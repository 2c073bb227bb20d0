"""DNS packets: a query's bytes in, an answer's bytes out. Stands on dnspython.

The resolver's limits are respected: an answer that does not fit the client's UDP size is cut and flagged (TC), so that
the client asks again over TCP.
"""

from __future__ import annotations

import random

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes
import dns.rrset

from timonel.dns.records import Answer, Rdata

TTL = 5  # seconds, as CoreDNS's kubernetes plugin
NEGATIVE_TTL = 5
UDP_SIZE = 512


class BadQuery(Exception):
    """Not a DNS query that can be answered; the packet is dropped."""


def parse(packet: bytes) -> dns.message.Message:
    try:
        query = dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError) as exc:
        raise BadQuery(str(exc)) from exc
    if query.flags & dns.flags.QR or query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        raise BadQuery("not a plain query")
    return query


def question(query: dns.message.Message) -> tuple[str, str]:
    """The asked name (lower case, no final dot) and type."""
    asked = query.question[0]
    return asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)


def response(
    query: dns.message.Message, answer: Answer, domain: str, shuffle: random.Random
) -> dns.message.Message:
    """Records are shuffled, so that clients which take the first spread over the endpoints."""
    message = dns.message.make_response(query, recursion_available=True)
    message.flags |= dns.flags.AA
    name = query.question[0].name
    records = list(answer.records)
    shuffle.shuffle(records)
    for record in records:
        _add(message.answer, message, name, record)
    for target, record in answer.extra:
        _add(message.additional, message, dns.name.from_text(target), record)
    if not answer.exists:
        message.set_rcode(dns.rcode.NXDOMAIN)
    if not answer.records:
        message.authority.append(_soa(domain))
    return message


def refusal(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    message = dns.message.make_response(query, recursion_available=True)
    message.set_rcode(rcode)
    return message


def to_udp(message: dns.message.Message, query: dns.message.Message) -> bytes:
    limit = max(UDP_SIZE, query.payload if query.edns >= 0 else UDP_SIZE)
    try:
        return message.to_wire(max_size=limit)
    except dns.exception.TooBig:
        short = dns.message.make_response(query, recursion_available=True)
        short.flags |= dns.flags.TC | (message.flags & dns.flags.AA)
        return short.to_wire()


def _add(
    section: list[dns.rrset.RRset], message: dns.message.Message, name: dns.name.Name, record: Rdata
) -> None:
    text = {
        "SRV": f"{record.priority} {record.weight} {record.port} {record.value}.",
        "CNAME": f"{record.value}.",
        "PTR": f"{record.value}.",
        "TXT": f'"{record.value}"',
    }.get(record.type, record.value)
    type_ = dns.rdatatype.from_text(record.type)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, type_, text)
    rrset = message.find_rrset(section, name, dns.rdataclass.IN, type_, create=True)
    rrset.add(rdata, TTL)


def _soa(domain: str) -> dns.rrset.RRset:
    text = f"ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 86400 {NEGATIVE_TTL}"
    return dns.rrset.from_text(f"{domain}.", NEGATIVE_TTL, "IN", "SOA", text)

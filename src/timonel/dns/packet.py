"""DNS packets for names that are ours: a query's bytes in, an answer's bytes out, without objects in between. Pure.

A library's message is made of objects for each label and record, and costs ten times what the answer itself does. Only
plain queries are read here (one question, at most an OPT record beside it); what is no query at all gets the answer
that the protocol has for it. Answers that come from elsewhere are handled by `wire`.

RFC 1035, 6891 (EDNS); what to refuse how: github.com/miekg/dns acceptfunc.go, which CoreDNS stands on.
"""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterable, Sequence

from timonel.dns.records import Answer, Rdata
from timonel.records import dataclass

TTL = 5  # seconds, as CoreDNS's kubernetes plugin
NEGATIVE_TTL = 5
UDP_SIZE, OUR_UDP_SIZE, LARGEST_UDP = 512, 1232, 4096
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33, "ANY": 255}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
IN, ANY_CLASS, OPT = 1, 255, 41
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
QR, AA, TC, RD, RA = 0x8000, 0x400, 0x200, 0x100, 0x80
CD = 0x10
POINTER = b"\xc0\x0c"  # to the name of the question
HEADER = struct.Struct(">HHHHHH")


class Refusal(Exception):
    """The packet is no query that we answer; `reply` is what to say, empty for nothing at all."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("not a query to answer")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Query:
    id: int
    flags: int
    name: str  # lower case, no final dot
    type: int
    question: bytes  # as it came, so that the client finds its own spelling
    edns: bool
    size: int  # what the client takes over UDP
    dnssec: bool = False

    @property
    def type_name(self) -> str:
        return TYPE_NAMES.get(self.type, f"TYPE{self.type}")


@dataclass(frozen=True, slots=True)
class Sections:
    """An answer but for what is the client's own: encoded once, and used until the zone changes."""

    rcode: int
    answer: tuple[bytes, ...]
    authority: tuple[bytes, ...] = ()
    additional: tuple[bytes, ...] = ()


def parse(packet: bytes) -> Query:
    """Raises Refusal."""
    if len(packet) < 12:
        raise Refusal(b"")
    id_, flags, questions, answers, authorities, extras = HEADER.unpack_from(packet)
    if flags & QR:
        raise Refusal(b"")  # an answer is never answered, or two servers would talk for ever
    if flags & 0x7800:
        raise Refusal(_bare(id_, flags, NOTIMP))
    if questions != 1 or answers > 1 or authorities > 1 or extras > 2:
        raise Refusal(_bare(id_, flags, FORMERR))
    try:
        name, at = _name(packet, 12)
        kind, class_ = struct.unpack_from(">HH", packet, at)
        at += 4
        question = packet[12:at]
        for _ in range(answers + authorities):
            at = _skip(packet, at)
        edns, size, dnssec, version = _options(packet, at, extras)
    except (struct.error, IndexError, ValueError):
        raise Refusal(_bare(id_, flags, FORMERR)) from None
    query = Query(id_, flags, name, kind, question, edns, size, dnssec)
    if version:
        raise Refusal(failure(query, BADVERS))
    if class_ not in (IN, ANY_CLASS):
        raise Refusal(failure(query, REFUSED))
    return query


def _name(packet: bytes, at: int) -> tuple[str, int]:
    labels = []
    start = at
    while True:
        length = packet[at]
        if length == 0:
            break
        if length > 63 or at - start > 254:
            raise ValueError("a question's name is neither compressed nor endless")
        label = packet[at + 1 : at + 1 + length]
        if len(label) != length:
            raise ValueError("cut off")
        labels.append(label)
        at += length + 1
    # A dot inside a label is no end of it; it is shown as something that no name of ours has.
    name = b".".join(label.replace(b".", b"\\.") for label in labels).decode("latin-1").lower()
    return name, at + 1


def _skip(packet: bytes, at: int) -> int:
    """Past one record."""
    while packet[at]:
        if packet[at] >= 0xC0:
            at += 1
            break
        at += packet[at] + 1
    (length,) = struct.unpack_from(">H", packet, at + 9)
    end: int = at + 11 + length
    if end > len(packet):
        raise ValueError("cut off")
    return end


def _options(packet: bytes, at: int, extras: int) -> tuple[bool, int, bool, int]:
    for _ in range(extras):
        if packet[at] == 0:
            kind, size, _, version, more = struct.unpack_from(">HHBBH", packet, at + 1)
            if kind == OPT:
                _skip(packet, at)
                return True, max(UDP_SIZE, min(size, LARGEST_UDP)), bool(more & 0x8000), version
        at = _skip(packet, at)
    return False, UDP_SIZE, False, 0


def encode(answer: Answer, domain: str) -> Sections:
    """Raises ValueError for a name that DNS has no room for."""
    authority = () if answer.records else (_soa_record(domain),)
    return Sections(
        rcode=NOERROR if answer.exists else NXDOMAIN,
        answer=tuple(dict.fromkeys(_record(POINTER, r, domain) for r in answer.records)),
        authority=authority,
        additional=tuple(dict.fromkeys(_record(name_bytes(name), r, domain) for name, r in answer.extra)),
    )


def reply(
    query: Query, sections: Sections, *, udp: bool, shuffle: random.Random, authoritative: bool = True
) -> bytes:
    """Records are shuffled, so that clients which take the first spread over the endpoints.

    What does not fit is left out and the reply marked, so that the client asks again over TCP; records beside the
    answer may be missing without a mark.
    """
    answers: Sequence[bytes] = sections.answer
    if len(answers) > 1:
        answers = shuffle.sample(answers, len(answers))
    flags = QR | RA | (AA if authoritative else 0) | (query.flags & (RD | CD)) | sections.rcode
    opt = _opt(query)
    room = (query.size if udp else 65535) - 12 - len(query.question) - len(opt)
    kept, room = _fitting(answers, room)
    if len(kept) < len(answers):
        flags |= TC
    authority, room = _fitting(sections.authority, room)
    extra, _ = _fitting(sections.additional, room) if not flags & TC else ([], 0)
    counts = (1, len(kept), len(authority), len(extra) + bool(opt))
    return b"".join((HEADER.pack(query.id, flags, *counts), query.question, *kept, *authority, *extra, opt))


def failure(query: Query, rcode: int) -> bytes:
    flags = QR | RA | (query.flags & (RD | CD)) | (rcode & 15)
    opt = _opt(query, rcode >> 4)
    return HEADER.pack(query.id, flags, 1, 0, 0, bool(opt)) + query.question + opt


def _fitting(records: Iterable[bytes], room: int) -> tuple[list[bytes], int]:
    kept = []
    for record in records:
        if len(record) > room:
            break
        kept.append(record)
        room -= len(record)
    return kept, room


def _bare(id_: int, flags: int, rcode: int) -> bytes:
    return HEADER.pack(id_, QR | (flags & 0x7800) | (flags & RD) | rcode, 0, 0, 0, 0)


def _opt(query: Query, high: int = 0) -> bytes:
    if not query.edns:
        return b""
    return b"\0" + struct.pack(">HHBBHH", OPT, OUR_UDP_SIZE, high, 0, 0x8000 if query.dnssec else 0, 0)


def _record(owner: bytes, record: Rdata, domain: str) -> bytes:
    if record.type == "SOA":
        return _soa_record(domain, owner)
    data = _data(record)
    return owner + struct.pack(">HHIH", TYPES[record.type], IN, TTL, len(data)) + data


def _data(record: Rdata) -> bytes:
    match record.type:
        case "A":
            return bytes(map(int, record.value.split(".")))
        case "AAAA":
            return ipaddress.IPv6Address(record.value).packed
        case "SRV":
            head = struct.pack(">HHH", record.priority, record.weight, record.port)
            return head + name_bytes(record.value)
        case "TXT":
            text = record.value.encode()
            return bytes([len(text)]) + text
        case _:
            return name_bytes(record.value)


def _soa_record(domain: str, owner: bytes = b"") -> bytes:
    data = name_bytes(f"ns.dns.{domain}") + name_bytes(f"hostmaster.{domain}")
    data += struct.pack(">IIIII", 1, 7200, 1800, 86400, NEGATIVE_TTL)
    return (
        (owner or name_bytes(domain)) + struct.pack(">HHIH", TYPES["SOA"], IN, NEGATIVE_TTL, len(data)) + data
    )


def name_bytes(name: str) -> bytes:
    """Raises ValueError for a label or a name that is too long."""
    parts = [label.encode() for label in name.rstrip(".").split(".") if label]
    if any(len(part) > 63 for part in parts) or sum(len(part) + 1 for part in parts) > 254:
        raise ValueError(f"{name} is too long for DNS")
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"

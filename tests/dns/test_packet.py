from __future__ import annotations

import contextlib
import random

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timonel.dns import packet
from timonel.dns.records import Answer, Rdata

RANDOM = random.Random(1)
A = Answer(True, tuple(Rdata("A", f"10.0.0.{n}") for n in range(1, 4)))


def said(query: dns.message.Message, answer: Answer, *, udp: bool = True) -> dns.message.Message:
    """What dnspython reads from our bytes."""
    parsed = packet.parse(query.to_wire())
    data = packet.reply(parsed, packet.encode(answer, "cluster.local"), udp=udp, shuffle=RANDOM)
    found = dns.message.from_wire(data)
    assert query.is_response(found)
    return found


@pytest.mark.parametrize(
    ("kind", "record", "text"),
    [
        ("A", Rdata("A", "10.0.0.1"), "10.0.0.1"),
        ("AAAA", Rdata("AAAA", "fd00::1"), "fd00::1"),
        ("SRV", Rdata("SRV", "web.shop.svc.cluster.local", 80, 0, 50), "0 50 80 web.shop.svc.cluster.local."),
        ("PTR", Rdata("PTR", "web.shop.svc.cluster.local"), "web.shop.svc.cluster.local."),
        ("CNAME", Rdata("CNAME", "example.com."), "example.com."),
        ("TXT", Rdata("TXT", "1.1.0"), '"1.1.0"'),
        (
            "SOA",
            Rdata("SOA", "cluster.local"),
            "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5",
        ),
    ],
)
def test_records_are_read_back_by_another_implementation(kind: str, record: Rdata, text: str) -> None:
    found = said(dns.message.make_query("X.cluster.local.", kind), Answer(True, (record,)))

    assert found.answer[0][0].to_text() == text
    assert found.flags & dns.flags.AA
    assert found.rcode() == dns.rcode.NOERROR


def test_no_such_name_and_no_such_record_differ_and_both_carry_the_authority() -> None:
    query = dns.message.make_query("x.cluster.local.", "A")

    assert said(query, Answer(False)).rcode() == dns.rcode.NXDOMAIN
    assert said(query, Answer(True)).rcode() == dns.rcode.NOERROR
    assert said(query, Answer(True)).authority[0][0].to_text().startswith("ns.dns.cluster.local.")


def test_the_client_finds_its_own_spelling_of_the_name() -> None:
    found = said(dns.message.make_query("wEb.ClusTer.local.", "A"), A)

    assert found.question[0].name.to_text() == "wEb.ClusTer.local."


@pytest.mark.parametrize(("payload", "fitting"), [(None, 30), (1232, 75), (4096, 100)])
def test_what_does_not_fit_is_left_out_and_told(payload: int | None, fitting: int) -> None:
    many = Answer(True, tuple(Rdata("A", f"10.0.{n >> 8}.{n & 255}") for n in range(100)))
    query = dns.message.make_query(
        "db.cluster.local.", "A", use_edns=0 if payload else False, payload=payload
    )
    found = said(query, many)

    assert len(found.to_wire()) <= (payload or 512)
    assert len(found.answer[0]) <= min(fitting, 100)
    assert len(found.answer[0]) >= fitting - 5
    assert bool(found.flags & dns.flags.TC) == (fitting < 100)
    assert len(said(query, many, udp=False).answer[0]) == 100


def test_edns_is_answered_with_edns_alone() -> None:
    assert said(dns.message.make_query("x.cluster.local.", "A", use_edns=0), A).edns == 0
    assert said(dns.message.make_query("x.cluster.local.", "A"), A).edns == -1
    option = dns.message.make_query(
        "x.cluster.local.",
        "A",
        use_edns=0,
        options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"cookie12")],
    )
    assert said(option, A).edns == 0


def refused(data: bytes) -> bytes:
    with pytest.raises(packet.Refusal) as caught:
        packet.parse(data)
    return caught.value.reply


def test_what_is_no_query_for_us_is_told_by_the_code_of_the_protocol() -> None:
    query = dns.message.make_query("x.cluster.local.", "A", use_edns=1)
    assert dns.message.from_wire(refused(query.to_wire())).rcode() == dns.rcode.BADVERS
    chaos = dns.message.make_query("version.bind.", "TXT", "CH")
    assert dns.message.from_wire(refused(chaos.to_wire())).rcode() == dns.rcode.REFUSED
    good = dns.message.make_query("x.cluster.local.", "A").to_wire()
    assert (
        dns.message.from_wire(refused(good[:2] + bytes([good[2] | 0x28]) + good[3:])).rcode()
        == dns.rcode.NOTIMP
    )
    assert dns.message.from_wire(refused(good[:5] + b"\2" + good[6:])).rcode() == dns.rcode.FORMERR
    assert dns.message.from_wire(refused(good[:-3])).rcode() == dns.rcode.FORMERR


def test_answers_are_not_answered_nor_is_rubbish_without_a_head() -> None:
    answer = dns.message.make_response(dns.message.make_query("x.cluster.local.", "A"))

    assert refused(answer.to_wire()) == b""
    assert refused(b"hello") == b""


@given(st.binary(max_size=100))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    head = b"\0\1\1\0\0\1\0\0\0\0\0\0"
    with contextlib.suppress(packet.Refusal):
        assert packet.parse(head + data).question == data[: len(packet.parse(head + data).question)]


@pytest.mark.parametrize("name", ["a" * 64, ".".join(["a" * 60] * 5)])
def test_names_that_dns_has_no_room_for_are_told(name: str) -> None:
    with pytest.raises(ValueError, match="too long"):
        packet.encode(Answer(True, (Rdata("CNAME", name),)), "cluster.local")

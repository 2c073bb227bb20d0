from __future__ import annotations

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from tests.dns.test_records import endpoint, service, slice_of
from timonel.aio.lifecycle import running
from timonel.dns.forward import Forwarder, Upstream, upstreams
from timonel.dns.records import Zone, build
from timonel.dns.server import DnsServer

pytestmark = pytest.mark.looptime(False)  # real sockets


def zone_of(endpoints: int = 1) -> Zone:
    return build(
        "cluster.local",
        [service("web"), service("db", clusterIPs=["None"])],
        [slice_of("db", *(endpoint(f"10.244.{n // 250}.{n % 250 + 1}") for n in range(endpoints)))],
        [{"metadata": {"name": "shop"}}],
    )


def server(zone: Zone, *resolvers: Upstream) -> DnsServer:
    return DnsServer(
        address="127.0.0.1", port=0, zone=lambda: zone, forwarder=Forwarder(resolvers, timeout=0.3)
    )


async def test_a_service_resolves_over_udp_and_tcp() -> None:
    it = server(zone_of())
    query = dns.message.make_query("WEB.shop.svc.cluster.local.", "A")

    async with running(it):
        over_udp = await dns.asyncquery.udp(query, "127.0.0.1", port=it.port, timeout=2)
        over_tcp = await dns.asyncquery.tcp(query, "127.0.0.1", port=it.port, timeout=2)

    assert over_udp.answer[0][0].to_text() == over_tcp.answer[0][0].to_text() == "10.96.0.7"


async def test_an_answer_that_does_not_fit_is_flagged_and_complete_over_tcp() -> None:
    it = server(zone_of(400))
    query = dns.message.make_query("db.shop.svc.cluster.local.", "A")

    async with running(it):
        answer, used_tcp = await dns.asyncquery.udp_with_fallback(query, "127.0.0.1", port=it.port, timeout=2)

    assert used_tcp
    assert len(answer.answer[0]) == 400


async def test_an_unknown_name_carries_the_authority() -> None:
    it = server(zone_of())

    async with running(it):
        answer = await dns.asyncquery.udp(
            dns.message.make_query("nope.shop.svc.cluster.local.", "A"), "127.0.0.1", port=it.port, timeout=2
        )

    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].name.to_text() == "cluster.local."


async def test_other_names_go_to_the_upstream_resolver() -> None:
    upstream = server(zone_of())
    async with running(upstream):
        it = DnsServer(
            address="127.0.0.1",
            port=0,
            zone=lambda: Zone("elsewhere.test"),
            forwarder=Forwarder([Upstream("127.0.0.1", upstream.port)]),
        )
        async with running(it):
            answer = await dns.asyncquery.udp(
                dns.message.make_query("web.shop.svc.cluster.local.", "A"),
                "127.0.0.1",
                port=it.port,
                timeout=2,
            )

    assert answer.answer[0][0].to_text() == "10.96.0.7"


async def test_without_an_upstream_resolver_the_query_fails_at_once() -> None:
    it = server(zone_of())

    async with running(it):
        answer = await dns.asyncquery.udp(
            dns.message.make_query("example.com.", "A"), "127.0.0.1", port=it.port, timeout=2
        )

    assert answer.rcode() == dns.rcode.SERVFAIL


def test_resolvers_of_a_resolv_conf_without_ourselves() -> None:
    text = (
        "# generated\nsearch example.com\nnameserver 10.0.0.1\nnameserver 10.0.0.2 # two\nnameserver bogus\n"
    )

    assert upstreams(text, own=["10.0.0.1"]) == (Upstream("10.0.0.2"),)


async def test_a_name_that_dns_has_no_room_for_ends_nothing() -> None:
    endless = service("endless", type="ExternalName", externalName=f"{'a' * 64}.example.com", clusterIPs=[])
    it = server(build("cluster.local", [service("web"), endless], [], [{"metadata": {"name": "shop"}}]))

    query = dns.message.make_query("endless.shop.svc.cluster.local.", "A")
    async with running(it):
        failed = [
            await ask(query, "127.0.0.1", port=it.port, timeout=2)
            for ask in (dns.asyncquery.udp, dns.asyncquery.tcp)
        ]
        answer = await dns.asyncquery.udp(
            dns.message.make_query("web.shop.svc.cluster.local.", "A"), "127.0.0.1", port=it.port, timeout=2
        )

    assert [f.rcode() for f in failed] == [dns.rcode.SERVFAIL] * 2
    assert answer.answer[0][0].to_text() == "10.96.0.7"

from __future__ import annotations

import asyncio
import random

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.dns.test_records import endpoint, service, slice_of
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.dns.forward import Forwarder, upstreams
from timonel.dns.metrics import MetricsServer
from timonel.dns.records import Zone, build
from timonel.dns.server import DnsServer
from timonel.dns.settings import Forwarding, Upstream
from timonel.objects.meta import Object

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
        address="127.0.0.1",
        port=0,
        zone=lambda: zone,
        forwarder=Forwarder(Forwarding(resolvers), SystemClock(), timeout=0.3),
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
            forwarder=Forwarder(Forwarding((Upstream("127.0.0.1", upstream.port),)), SystemClock()),
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


def packets() -> list[bytes]:
    random_ = random.Random(7)
    good = dns.message.make_query("web.shop.svc.cluster.local.", "A", use_edns=0).to_wire()
    found = [good[:n] for n in range(len(good))]
    for _ in range(3000):
        broken = bytearray(good)
        for _ in range(random_.randint(1, 4)):
            broken[random_.randrange(len(broken))] = random_.randrange(256)
        found.append(bytes(broken))
    return [*found, *(random_.randbytes(random_.randrange(600)) for _ in range(2000))]


async def test_a_flood_of_malformed_packets_ends_nothing() -> None:
    it = server(zone_of())

    async with running(it):
        replies: list[bytes] = []
        for data in packets():
            it.datagram(data, replies.append)
        await asyncio.sleep(0.5)
        answer = await dns.asyncquery.udp(
            dns.message.make_query("web.shop.svc.cluster.local.", "A"), "127.0.0.1", port=it.port, timeout=2
        )

    assert answer.answer[0][0].to_text() == "10.96.0.7"
    assert it.counts.malformed > 1000
    for reply in replies:
        assert dns.message.from_wire(reply).flags & dns.flags.QR


async def ask(it: DnsServer, name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    return await dns.asyncquery.udp(query, "127.0.0.1", port=it.port, timeout=2)


def alias(name: str, target: str) -> Object:
    return service(name, type="ExternalName", externalName=target, clusterIPs=[])


async def test_an_external_name_is_followed_inside_and_outside_of_the_cluster() -> None:
    upstream = server(build("example.com", [service("www")], [], [{"metadata": {"name": "shop"}}]))
    services = [
        service("web"),
        alias("near", "web.shop.svc.cluster.local"),
        alias("twice", "near.shop.svc.cluster.local"),
        alias("far", "www.shop.svc.example.com"),
        alias("nowhere", "nope.shop.svc.cluster.local"),
        alias("self", "self.shop.svc.cluster.local"),
    ]
    async with running(upstream):
        zone = build("cluster.local", services, [], [{"metadata": {"name": "shop"}}])
        it = server(zone, Upstream("127.0.0.1", upstream.port))
        async with running(it):
            found = {
                n: await ask(it, f"{n}.shop.svc.cluster.local.")
                for n in ("near", "twice", "far", "nowhere", "self")
            }

    assert [len(found[n].answer) for n in ("near", "twice", "far")] == [2, 3, 2]
    for name in ("near", "twice", "far"):
        assert found[name].answer[-1][0].to_text() == "10.96.0.7"
    assert found["nowhere"].rcode() == dns.rcode.NXDOMAIN
    assert found["self"].rcode() == dns.rcode.SERVFAIL


async def test_answers_of_others_are_kept_for_a_while_and_stub_domains_have_their_own_servers() -> None:
    general, stub = server(Zone("other.test")), server(build("corp.test", [service("web")], [], []))
    async with running(general), running(stub):
        settings = Forwarding(
            (Upstream("127.0.0.1", general.port),), (("corp.test", (Upstream("127.0.0.1", stub.port),)),)
        )
        it = server(zone_of())
        it.forwarder.settings = settings
        async with running(it):
            answers = [await ask(it, "web.shop.svc.corp.test.") for _ in range(5)]
            missing = await ask(it, "x.other.test.")

    assert {a.answer[0][0].to_text() for a in answers} == {"10.96.0.7"}
    assert (it.forwarder.asked, it.forwarder.hits) == (2, 4)
    assert missing.rcode() == dns.rcode.NXDOMAIN


async def test_metrics_are_served_as_text() -> None:
    it = server(zone_of())
    async with running(it):
        await ask(it, "web.shop.svc.cluster.local.")
        await ask(it, "nope.shop.svc.cluster.local.")
        metrics = MetricsServer("127.0.0.1", 0, it.metrics)
        async with running(metrics):
            reader, writer = await asyncio.open_connection("127.0.0.1", metrics.port)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            text = (await reader.read()).decode()
            writer.close()

    assert 'coredns_dns_requests_total{proto="udp",type="A"} 2' in text
    assert 'coredns_dns_responses_total{rcode="NXDOMAIN"} 1' in text

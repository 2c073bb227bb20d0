"""What the kernel does with the rules of Services: real packets between network namespaces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.proxy.test_shell import FakeFactory
from tests.system.namespaces import CLIENT, NODE, NODE6, PODS, NodeKernel, World, world
from timonel.aio.clock import SystemClock
from timonel.aio.lifecycle import running
from timonel.objects.meta import Object
from timonel.proxy.ruleset import Network
from timonel.proxy.shell import RETRY_INTERVAL, Proxy

pytestmark = pytest.mark.looptime(False)
VIP, VIP6, EXTERNAL = "10.96.0.7", "fd96::7", "5.5.5.5"
A, B, C = PODS.values()


@pytest.fixture(scope="module")
def net() -> Iterator[World]:
    with world("tnts") as made:
        for pod, address in PODS.items():
            made.serve(pod, address, 8080)
            made.serve(pod, address, 5353, "udp")
        made.serve("a", "fd00::2", 8080)
        made.serve("node", NODE, 8080)
        yield made


def service(name: str = "web", **spec: Any) -> Object:
    status = {"loadBalancer": {"ingress": [{"ip": EXTERNAL}]}} if spec.pop("balanced", False) else {}
    ports = [
        {"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"},
        {"name": "dns", "port": 53, "nodePort": 30053, "protocol": "UDP"},
    ]
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"clusterIPs": [VIP], "ports": ports, **spec},
        "status": status,
    }


def slice_of(*pods: str, remote: bool = False, name: str = "web", kind: str = "IPv4") -> Object:
    node = "elsewhere" if remote else "n1"
    return {
        "metadata": {
            "namespace": "shop",
            "name": f"{name}-{kind}{remote}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": kind,
        "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}],
        "endpoints": [{"addresses": [ip], "nodeName": node} for ip in pods],
    }


class Routed:
    """A proxy over the node's kernel; `see` gives it a picture and waits until the kernel has it."""

    def __init__(self, net: World) -> None:
        self.net, self.factory = net, FakeFactory()
        self.proxy = Proxy(
            informers=self.factory,  # type: ignore[arg-type]
            network=Network("timonel", "10.244.0.0/16,fd00::/64"),
            node="n1",
            clock=SystemClock(),
            kernel=NodeKernel(net),
        )

    async def see(self, *objects: Object) -> None:
        for obj in objects:
            (self.factory.slices if "endpoints" in obj else self.factory.services).put(obj)
        await asyncio.sleep(0.05)


def who(answers: list[str]) -> set[str]:
    return {answer.split()[0] for answer in answers}


def seen(answers: list[str]) -> set[str]:
    return {answer.split()[-1] for answer in answers}


async def test_a_cluster_ip_leads_to_all_endpoints_with_the_pods_own_address(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(), slice_of(A, B))
        from_pod = net.ask("c", VIP, 80, times=24)
        assert who(from_pod) == {"a", "b"}
        assert seen(from_pod) == {C}
        assert who(net.ask("node", VIP, 80, times=24)) == {"a", "b"}
        assert who(net.ask("c", VIP, 53, kind="udp", times=24)) == {"a", "b"}


async def test_from_outside_the_answer_comes_back_through_the_node(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(externalIPs=[EXTERNAL]), slice_of(A, B))
        for address, port in ((NODE, 30080), (EXTERNAL, 80), (VIP, 80)):
            found = net.ask("client", address, port, times=16)
            assert who(found) == {"a", "b"}, address
            assert CLIENT not in seen(found)
        assert who(net.ask("client", NODE, 30053, kind="udp", times=8)) <= {"a", "b"}
        assert who(net.ask("node", NODE, 30080)) <= {"a", "b"}
        assert net.ask("node", "127.0.0.1", 30080) == ["refused"]


async def test_a_pod_reaches_itself_through_its_service(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(), slice_of(A))
        assert who(net.ask("a", VIP, 80, times=3)) == {"a"}


async def test_a_service_without_endpoints_refuses_at_once(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(externalIPs=[EXTERNAL]))
        for part, address, port in (
            ("c", VIP, 80),
            ("node", VIP, 80),
            ("client", NODE, 30080),
            ("client", EXTERNAL, 80),
        ):
            assert net.ask(part, address, port) == ["refused"], (part, address)
        await it.see(slice_of(B))
        assert who(net.ask("c", VIP, 80)) == {"b"}


async def test_the_external_policy_local_keeps_the_source_and_drops_elsewhere(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(
            service(externalTrafficPolicy="Local", externalIPs=[EXTERNAL]),
            slice_of(A),
            slice_of(B, remote=True),
        )
        found = net.ask("client", NODE, 30080, times=8) + net.ask("client", EXTERNAL, 80, times=8)
        assert set(found) == {f"a {CLIENT}"}
        assert who(net.ask("c", EXTERNAL, 80, times=24)) == {"a", "b"}  # from within: all endpoints
        assert who(net.ask("node", NODE, 30080, times=24)) == {"a", "b"}
        await it.see(slice_of())
        assert net.ask("client", NODE, 30080) == ["timeout"]
        assert net.ask("client", EXTERNAL, 80) == ["timeout"]
        assert who(net.ask("c", EXTERNAL, 80)) == {"b"}


async def test_the_internal_policy_local_drops_where_there_is_no_endpoint(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(internalTrafficPolicy="Local"), slice_of(A), slice_of(B, remote=True))
        assert who(net.ask("c", VIP, 80, times=8)) == {"a"}
        await it.see(slice_of())
        assert net.ask("c", VIP, 80) == ["timeout"]


async def test_a_client_sticks_to_an_endpoint_until_it_goes_or_the_time_is_over(net: World) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(sessionAffinity="ClientIP", sessionAffinityConfig=config), slice_of(A, B))
        for part, address, port in (("c", VIP, 80), ("client", NODE, 30080)):
            assert len(who(net.ask(part, address, port, times=12))) == 1
        (mine,) = who(net.ask("c", VIP, 80))
        await it.see(slice_of(A, B, C))  # more endpoints move nobody
        assert who(net.ask("c", VIP, 80, times=8)) == {mine}
        others = [ip for pod, ip in PODS.items() if pod != mine]
        await it.see(slice_of(*others))
        assert mine not in who(net.ask("c", VIP, 80, times=8))
        found: set[str] = set()
        deadline = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < deadline:
            await asyncio.sleep(1.2)
            found |= who(net.ask("c", VIP, 80))
        assert len(found) == 2


async def test_source_ranges_keep_others_from_the_load_balancers_address(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(balanced=True, loadBalancerSourceRanges=["10.0.0.0/8"]), slice_of(A))
        assert net.ask("client", EXTERNAL, 80) == ["timeout"]
        assert who(net.ask("client", NODE, 30080)) == {"a"}
        await it.see(service(balanced=True, loadBalancerSourceRanges=["10.0.0.0/8", f"{CLIENT}/32"]))
        assert who(net.ask("client", EXTERNAL, 80)) == {"a"}


async def test_a_udp_client_follows_when_its_endpoint_goes(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(), slice_of(A))
        for _ in range(2):
            assert who(net.ask("c", VIP, 53, kind="udp", source_port=4444)) == {"a"}
        await it.see(slice_of(B))
        assert who(net.ask("c", VIP, 53, kind="udp", source_port=4444)) == {"b"}


async def test_a_flow_outlives_the_proxy_and_its_restart(net: World) -> None:
    first = Routed(net)
    async with running(first.proxy):
        await first.see(service(), slice_of(A, B, C))
        before = net.ask("client", NODE, 30053, kind="udp", source_port=4646)
    assert net.ask("client", NODE, 30053, kind="udp", source_port=4646) == before
    second = Routed(net)
    await second.see(service(), slice_of(A, B, C))
    async with running(second.proxy):
        assert net.ask("client", NODE, 30053, kind="udp", source_port=4646, times=20) == before * 20


async def test_a_burst_of_changes_ends_in_the_right_rules(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service())
        for n in range(10_000):
            it.factory.slices.put(slice_of(*[f"10.245.{n >> 8}.{n & 255}", A][: 1 + n % 2]))
            if n % 500 == 0:
                await asyncio.sleep(0)
        await it.see(slice_of(C))
        await asyncio.sleep(0.5)
        assert it.proxy.healthy
        assert who(net.ask("a", VIP, 80, times=8)) == {"c"}
        listed = net.run("node", ["nft", "list", "map", "ip", "timonel", "endpoints"])
        assert "10.245" not in listed


async def test_the_other_family_is_routed_as_well(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(clusterIPs=[VIP, VIP6]), slice_of(A), slice_of("fd00::2", kind="IPv6"))
        assert net.ask("b", VIP6, 80) == ["a fd00::3"]
        assert who(net.ask("client", NODE6, 30080)) == {"a"}


async def test_an_endpoint_of_the_hosts_network_is_reached_from_everywhere(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(), slice_of(NODE))
        for part, address, port in (
            ("c", VIP, 80),
            ("node", VIP, 80),
            ("client", NODE, 30080),
            ("node", NODE, 30080),
        ):
            assert who(net.ask(part, address, port)) == {"node"}, (part, address)


async def test_affinity_can_be_switched_on_and_off(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        for affinity, alone in (("None", False), ("ClientIP", True), ("None", False)):
            await it.see(service(sessionAffinity=affinity), slice_of(A, B, C))
            assert (len(who(net.ask("client", NODE, 30080, times=24))) == 1) == alone


async def test_other_tables_stay_and_ours_come_back_when_somebody_removes_them(net: World) -> None:
    it = Routed(net)
    net.run("node", ["nft", "-f", "-"], "table ip foreign {}\n")
    async with running(it.proxy):
        await it.see(service(), slice_of(A))
        net.run("node", ["nft", "delete", "table", "ip", "timonel"])
        await asyncio.sleep(0.3)
        assert who(net.ask("c", VIP, 80)) == {"a"}
    assert "foreign" in net.run("node", ["nft", "list", "tables"])
    net.run("node", ["nft", "delete", "table", "ip", "foreign"])


async def test_after_a_refusal_everything_is_made_anew(net: World) -> None:
    it = Routed(net)
    async with running(it.proxy):
        await it.see(service(), slice_of(A))
        net.run("node", ["nft", "flush", "map", "ip", "timonel", "endpoints"])  # which nobody tells of
        await it.see(slice_of(B))
        assert not it.proxy.healthy
        await asyncio.sleep(RETRY_INTERVAL + 1)
        assert it.proxy.healthy
        assert who(net.ask("c", VIP, 80)) == {"b"}


async def test_health_check_node_ports_answer_as_upstreams(net: World) -> None:
    from timonel.proxy.health import HealthServers
    from timonel.proxy.model import HealthPort

    servers = HealthServers(lambda: True, "127.0.0.1")
    try:
        for count, code in ((2, "200 OK"), (0, "503 Service Unavailable")):
            await servers.update({31999: HealthPort("shop", "web", 31999, count)})
            reader, writer = await asyncio.open_connection("127.0.0.1", 31999)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            text = (await reader.read()).decode()
            writer.close()
            assert text.startswith(f"HTTP/1.1 {code}\r\n")
            assert f'"localEndpoints": {count}' in text
            assert f"X-Load-Balancing-Endpoint-Weight: {count}" in text
    finally:
        servers.close()

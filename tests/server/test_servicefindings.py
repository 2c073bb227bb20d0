"""What is wrong with addresses and ports of Services: found, told once, mended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import FakeObjects, FakeReader
from timonel.aio.clock import VirtualClock
from timonel.objects.meta import Key, Object, key_of
from timonel.server.addresses import AddressClaims, ip_address
from timonel.server.claims import Claims
from timonel.server.portrepair import PortRepair
from timonel.server.ranges import PortRange, contains
from timonel.server.servicefindings import Notes, about_addresses, about_ports, ports_of
from timonel.store.memory import MemoryStore

ADDRESSES = "ipaddresses.networking.k8s.io"
GATEWAY = {"group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "shop", "name": "gw"}


def service(name: str, *addresses: str, **spec: Any) -> Object:
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": "5"}
    return {"metadata": meta, "spec": {"clusterIPs": list(addresses), **spec}}


def claim(address: str, name: str) -> Object:
    made = ip_address(address, Key("shop", name))
    made["metadata"] |= {"uid": f"uid-{address}", "resourceVersion": "6"}
    return made


def of_a_gateway(address: str) -> Object:
    return {**claim(address, "gw"), "spec": {"parentRef": GATEWAY}}


@pytest.mark.parametrize(
    ("address", "found", "reason", "message"),
    [
        ("10.96.0.9", claim("10.96.0.9", "web"), "", ""),
        (
            "10.96.0.9",
            None,
            "ClusterIPNotAllocated",
            "Cluster IP [IPv4]: 10.96.0.9 is not allocated; repairing",
        ),
        (
            "10.200.0.9",
            None,
            "ClusterIPOutOfRange",
            "Cluster IP [IPv4]: 10.200.0.9 is not within any configured Service CIDR; please recreate service",
        ),
        (
            "10.96.0.9",
            of_a_gateway("10.96.0.9"),
            "ClusterIPNotAllocated",
            "the ClusterIP [IPv4]: 10.96.0.9 for Service shop/web has a wrong reference; repairing",
        ),
        (
            "10.96.0.9",
            claim("10.96.0.9", "nobody"),
            "ClusterIPNotAllocated",
            "the ClusterIP [IPv4]: 10.96.0.9 for Service shop/web has a wrong reference; repairing",
        ),
        (
            "10.96.0.9",
            claim("10.96.0.9", "twin"),
            "ClusterIPAlreadyAllocated",
            "Cluster IP [IPv4]:10.96.0.9 was assigned to multiple services; please recreate service",
        ),
        (
            "nonsense",
            None,
            "ClusterIPNotValid",
            "Cluster IP <nil> is not a valid IP; please recreate Service",
        ),
    ],
)
def test_what_is_wrong_with_an_address_is_told_as_upstream_does(
    address: str, found: Object | None, reason: str, message: str
) -> None:
    others = {Key("shop", "twin"): service("twin", "10.96.0.9")}
    findings = list(
        about_addresses(
            service("web", address),
            in_range=lambda text: contains("10.96.0.0/16", text),
            claim_of=lambda text: found,
            service_at=others.get,
        )
    )

    assert [(f.reason, f.message) for f in findings] == ([(reason, message)] if reason else [])


def test_ports_of_two_protocols_count_once() -> None:
    ports = [
        {"nodePort": 30001, "protocol": "TCP"},
        {"nodePort": 30001, "protocol": "UDP"},
        {"nodePort": 30002},
        {"port": 80},
    ]
    assert ports_of(service("web", ports=ports, healthCheckNodePort=30003)) == [30001, 30002, 30003]
    assert ports_of(service("web", ports=[ports[2], ports[2]])) == [30002, 30002]


def test_what_is_wrong_with_ports_is_told_as_upstream_does() -> None:
    def at(name: str, port: int) -> Object:
        return service(name, ports=[{"nodePort": port}])

    found = about_ports(
        [at("a", 30001), at("b", 30001), at("c", 40000), at("d", 30002)], 30000, 32767, {30001}
    )

    assert [(f.about["metadata"]["name"], f.reason, f.message) for f in found] == [
        (
            "b",
            "PortAlreadyAllocated",
            "Port 30001 was assigned to multiple services; please recreate service",
        ),
        (
            "c",
            "PortOutOfRange",
            "Port 40000 is not within the port range 30000-32767; please recreate service",
        ),
        ("d", "PortNotAllocated", "Port 30002 is not allocated; repairing"),
    ]


async def test_a_finding_is_told_when_it_is_new() -> None:
    reader, clock = FakeReader(), VirtualClock()
    notes = Notes(FakeObjects(reader), clock, "portallocator-repair-controller")
    found = list(about_ports([service("a", ports=[{"nodePort": 1}])], 30000, 32767, None))
    for findings in (found, found, [], found):
        await notes.tell(findings)
        await clock.advance(180)

    event, _ = reader.list("events")
    assert (event["reason"], event["involvedObject"]["name"]) == ("PortOutOfRange", "a")
    assert event["source"] == {"component": "portallocator-repair-controller"}


async def test_addresses_are_claimed_again_and_claims_of_others_are_taken_back() -> None:
    reader, clock = FakeReader(), VirtualClock()
    for each in (service("lost", "10.96.0.1"), service("robbed", "10.96.0.2"), service("fine", "10.96.0.3")):
        reader.put("services", each)
    reader.put(ADDRESSES, of_a_gateway("10.96.0.2"))
    reader.put(ADDRESSES, claim("10.96.0.3", "fine"))
    reader.put(ADDRESSES, claim("10.96.0.4", "gone"))

    class Objects(FakeObjects):
        async def create(
            self, resource: str, obj: Object, *, namespace: str = "", manager: str = ""
        ) -> Object:
            numbered = {**obj, "metadata": {**obj["metadata"], "resourceVersion": "9", "uid": "new"}}
            return await super().create(resource, numbered)

        async def delete(self, resource: str, namespace: str, name: str, **options: Any) -> Object:
            self.reader.remove(resource, namespace, name)
            return {}

    claims = AddressClaims(Objects(reader), reader, clock, lambda address: None, shared=False)
    await claims.repair()

    holders = {c["metadata"]["name"]: c["spec"]["parentRef"]["name"] for c in reader.list(ADDRESSES)}
    assert holders == {"10.96.0.1": "lost", "10.96.0.2": "robbed", "10.96.0.3": "fine"}
    reasons = {(e["involvedObject"]["name"], e["reason"]) for e in reader.list("events")}
    assert reasons == {
        ("lost", "ClusterIPNotAllocated"),
        ("robbed", "ClusterIPNotAllocated"),
        ("10.96.0.4", "IPAddressNotAllocated"),
    }


async def test_a_port_that_no_server_wrote_down_is_claimed_again() -> None:
    reader, clock = FakeReader(), VirtualClock()
    web = reader.put("services", service("web", ports=[{"nodePort": 30005}]))
    claims = Claims(MemoryStore(), clock, "nodeports", lambda number, owner: owner == key_of(web))
    repair = PortRepair(FakeObjects(reader), reader, clock, PortRange(), claims)
    await repair.repair()
    await repair.repair()

    assert await claims.numbers() == {30005}
    assert [e["reason"] for e in reader.list("events")] == ["PortNotAllocated"]

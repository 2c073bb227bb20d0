"""Addresses and ports of Services: given out once, freed, and refused in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.fakes import FakeReader, creating, updating
from timonel.aio.clock import VirtualClock
from timonel.apis.core.service import SERVICE
from timonel.machinery import errors
from timonel.objects.meta import Object
from timonel.server.allocators import ServiceAllocators
from timonel.server.claims import Claims
from timonel.store.memory import MemoryStore


def service(name: str = "web", **spec: Any) -> Object:
    obj: Object = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ports": [{"port": 80}], **spec},
    }
    SERVICE.default(obj)
    return obj


async def allocated(allocators: ServiceAllocators, obj: Object, **more: Any) -> Object:
    await allocators.admit(creating(obj, SERVICE, **more))
    spec: Object = obj["spec"]
    return spec


async def test_a_service_gets_an_address_and_says_its_family() -> None:
    spec = await allocated(ServiceAllocators(), service())

    assert spec["clusterIP"].startswith("10.96.")
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


async def test_no_two_services_get_the_same() -> None:
    allocators = ServiceAllocators(address_ranges=("10.0.0.0/28",))

    found = [(await allocated(allocators, service(f"s{i}")))["clusterIP"] for i in range(14)]

    assert len(set(found)) == 14
    with pytest.raises(errors.InternalError, match="range is full"):
        await allocated(allocators, service("one-more"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.96.0.10", "failed to allocate IP 10.96.0.10: provided IP is already allocated"),
        ("192.168.1.1", "the provided network does not match the current range"),
        ("10.96.0.0", "the provided network does not match the current range"),
        ("fd00::1", "IPv6 is not configured on this cluster"),
        ("nonsense", "must be a valid IP address"),
    ],
)
async def test_an_address_that_cannot_be_had(address: str, message: str) -> None:
    allocators = ServiceAllocators()
    await allocated(allocators, service("taken", clusterIP="10.96.0.10"))

    with pytest.raises(errors.Invalid) as error:
        await allocated(allocators, service("late", clusterIP=address))

    assert message in error.value.message


async def test_a_failed_write_gives_back_what_it_took() -> None:
    allocators = ServiceAllocators()
    call = creating(service(type="NodePort", clusterIP="10.96.0.10"), SERVICE)
    call.obj["spec"]["ports"][0]["nodePort"] = 30010  # type: ignore[index]
    await allocators.admit(call)

    for undo in reversed(call.undo):
        undo()

    spec = await allocated(allocators, service("other", clusterIP="10.96.0.10"))
    assert spec["clusterIP"] == "10.96.0.10"


async def test_a_dry_run_takes_nothing() -> None:
    allocators = ServiceAllocators()

    await allocated(allocators, service(clusterIP="10.96.0.10"), dry_run=True)

    assert (await allocated(allocators, service("b", clusterIP="10.96.0.10")))["clusterIP"] == "10.96.0.10"


async def test_the_books_follow_the_services() -> None:
    reader, allocators = FakeReader(), ServiceAllocators()
    allocators.follow(reader)
    stored = service("old", clusterIP="10.96.0.10", clusterIPs=["10.96.0.10"])
    reader.put("services", stored)

    with pytest.raises(errors.Invalid, match="already allocated"):
        await allocated(allocators, service("new", clusterIP="10.96.0.10"))
    reader.remove("services", "shop", "old")
    assert (await allocated(allocators, service("new", clusterIP="10.96.0.10")))["clusterIP"] == "10.96.0.10"


async def test_ports_of_one_number_share_a_node_port() -> None:
    ports = [
        {"name": "t", "port": 53},
        {"name": "u", "port": 53, "protocol": "UDP"},
        {"name": "m", "port": 9153},
    ]

    spec = await allocated(ServiceAllocators(), service(type="NodePort", ports=ports))

    numbers = [p["nodePort"] for p in spec["ports"]]
    assert numbers[0] == numbers[1] != numbers[2]
    assert all(30000 <= n <= 32767 for n in numbers)


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        (
            [{"port": 80, "nodePort": 80}],
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range."
            " The range of valid ports is 30000-32767",
        ),
        (
            [{"name": "x", "port": 80, "nodePort": 31999}, {"name": "y", "port": 81, "nodePort": 31999}],
            "spec.ports[1].nodePort: Invalid value: 31999: provided port is already allocated",
        ),
    ],
)
async def test_a_node_port_that_cannot_be_had(ports: list[Object], message: str) -> None:
    with pytest.raises(errors.Invalid) as error:
        await allocated(ServiceAllocators(), service(type="NodePort", ports=ports))

    assert message in error.value.message


async def test_headless_services_take_no_address() -> None:
    allocators = ServiceAllocators()

    selecting = await allocated(allocators, service(clusterIP="None", selector={"a": "b"}))
    bare = await allocated(allocators, service("bare", clusterIP="None"))

    assert (selecting["clusterIPs"], selecting["ipFamilyPolicy"]) == (["None"], "SingleStack")
    assert (bare["ipFamilies"], bare["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")


async def test_a_local_load_balancer_gets_a_health_check_port() -> None:
    allocators = ServiceAllocators()
    old = service(type="LoadBalancer", externalTrafficPolicy="Local")
    spec = await allocated(allocators, old)
    assert spec["healthCheckNodePort"] not in (0, spec["ports"][0]["nodePort"])

    new = service(type="LoadBalancer", externalTrafficPolicy="Cluster", clusterIP=spec["clusterIP"])
    new["spec"]["clusterIPs"] = [spec["clusterIP"]]
    await allocators.admit(updating(new, old, SERVICE))

    assert "healthCheckNodePort" not in new["spec"]
    assert new["spec"]["ports"][0]["nodePort"] == spec["ports"][0]["nodePort"]


async def test_a_refused_service_leaves_no_claim_of_its_node_port() -> None:
    store, clock = MemoryStore(), VirtualClock()
    allocators = ServiceAllocators(claims=lambda name, has: Claims(store, clock, name, has))
    ports = [{"port": 80, "nodePort": 30200}]
    refused = creating(service("refused", type="NodePort", ports=ports), SERVICE)
    await allocators.admit(refused)
    for undo in reversed(refused.undo):
        undo()

    spec = await allocated(allocators, service("next", type="NodePort", ports=ports))

    assert spec["ports"][0]["nodePort"] == 30200

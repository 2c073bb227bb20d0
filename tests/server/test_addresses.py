"""IPAddresses: one for each cluster address, made and removed with the Service, set right after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.server.starting import Answer, send, started
from timonel.objects.meta import Key, Object
from timonel.server.addresses import RESOURCE, ip_address
from timonel.server.servicefindings import ALLOCATOR, holder_of
from timonel.store.memory import MemoryStore

pytestmark = pytest.mark.looptime(False)

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def until(ask: Callable[[], Awaitable[Answer]], answers: Callable[[Answer], bool]) -> None:
    for _ in range(500):
        if answers(await ask()):
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came")


async def test_an_address_is_claimed_with_its_service_and_freed_with_it() -> None:
    async with started() as server:
        made = (await send(server, "POST", SERVICES, service("web"))).body
        address = made["spec"]["clusterIP"]
        claim = (await send(server, "GET", f"{ADDRESSES}/{address}")).body
        again = await send(server, "POST", SERVICES, service("late", clusterIP=address))

        await send(server, "DELETE", f"{SERVICES}/web")
        at_once = await send(server, "POST", SERVICES, service("next", clusterIP=address))
        now = (await send(server, "GET", f"{ADDRESSES}/{address}")).body
        await send(server, "DELETE", f"{SERVICES}/next")
        await until(lambda: send(server, "GET", f"{ADDRESSES}/{address}"), lambda a: a.status == 404)

    assert claim["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": ALLOCATOR,
    }
    assert claim["spec"] == {"parentRef": {"name": "web", "namespace": "default", "resource": "services"}}
    assert (again.status, at_once.status) == (422, 201)
    assert holder_of(now) == Key("default", "next")


async def test_a_service_that_is_refused_leaves_no_claim() -> None:
    async with started() as server:
        refused = await send(
            server, "POST", SERVICES, service("web", clusterIP="10.96.3.3", sessionAffinity="x")
        )
        await until(lambda: send(server, "GET", f"{ADDRESSES}/10.96.3.3"), lambda a: a.status == 404)
        made = await send(server, "POST", SERVICES, service("web", clusterIP="10.96.3.3"))

    assert (refused.status, made.status) == (422, 201)


async def test_what_somebody_else_reserved_is_given_to_nobody() -> None:
    reserved = ip_address("10.96.5.5", Key("default", "gateway"))
    reserved["metadata"]["labels"] = {"ipaddress.kubernetes.io/managed-by": "gateways.example.com"}
    async with started() as server:
        await send(server, "POST", ADDRESSES, reserved)

        refused = await send(server, "POST", SERVICES, service("web", clusterIP="10.96.5.5"))
        kept = await send(server, "GET", f"{ADDRESSES}/10.96.5.5")

    assert "provided IP is already allocated" in refused.body["message"]
    assert kept.status == 200


async def test_a_start_claims_what_is_in_use_and_removes_what_is_not() -> None:
    store = MemoryStore()
    async with started(store=store) as server:
        await send(server, "POST", SERVICES, service("web", clusterIP="10.96.7.7"))
        await until(lambda: send(server, "GET", f"{ADDRESSES}/10.96.0.1"), lambda a: a.status == 200)
    [claim] = [r for r in (await store.list("/ipaddresses/")).records if r.key.endswith("10.96.7.7")]
    await store.delete(claim.key, expected=claim.modified)
    async with started(store=store) as server:
        await until(lambda: send(server, "GET", f"{ADDRESSES}/10.96.7.7"), lambda a: a.status == 200)
        await server.objects.create(RESOURCE, ip_address("10.96.8.8", Key("default", "nobody")))
    async with started(store=store) as server:
        await until(lambda: send(server, "GET", f"{ADDRESSES}/10.96.8.8"), lambda a: a.status == 404)

        await send(server, "DELETE", f"{ADDRESSES}/10.96.7.7")
        await until(lambda: send(server, "GET", f"{ADDRESSES}/10.96.7.7"), lambda a: a.status == 200)


async def test_a_range_that_is_ready_extends_what_is_given_out() -> None:
    async with started() as server:
        own = (await send(server, "GET", f"{CIDRS}/kubernetes")).body
        cidr = {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}}
        await send(server, "POST", CIDRS, cidr)
        early = await send(server, "POST", SERVICES, service("early", clusterIP="10.200.0.9"))
        ready = {"type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime": now()}
        patch = {"status": {"conditions": [ready]}}
        merge = {"Content_Type": "application/merge-patch+json"}
        patched = await send(server, "PATCH", f"{CIDRS}/more/status", patch, **merge)
        made = await send(server, "POST", SERVICES, service("made", clusterIP="10.200.0.9"))

    assert own["status"]["conditions"][0]["status"] == "True"
    assert own["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    assert (early.status, patched.status, made.status) == (422, 200, 201)


def now() -> str:
    return "2026-01-01T00:00:00Z"

"""Ranges of cluster addresses: ready from the start, kept while somebody's address is in no other."""

from __future__ import annotations

import ipaddress

import pytest

from tests.controllers.world import World
from timonel.controllers.service_cidr import ADDRESSES, FINALIZER, RESOURCE, SERVICE_CIDR, is_needed
from timonel.objects.conditions import find
from timonel.objects.meta import Object

LONG_AGO = "2020-01-01T00:00:00Z"


def cidr(name: str, *ranges: str, deleted: str = "") -> Object:
    metadata: Object = {"name": name, "uid": name}
    if deleted:
        metadata |= {"deletionTimestamp": deleted, "finalizers": [FINALIZER]}
    return {"metadata": metadata, "spec": {"cidrs": list(ranges)}}


def address(name: str) -> Object:
    labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    return {"metadata": {"name": name, "labels": labels}}


def test_a_new_range_is_protected_and_ready() -> None:
    world = World((RESOURCE, cidr("more", "10.1.0.0/24")))
    world.settle(SERVICE_CIDR)

    (found,) = world.list(RESOURCE)
    assert found["metadata"]["finalizers"] == [FINALIZER]
    ready = find(found["status"]["conditions"], "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "")


def test_a_range_that_is_in_use_says_why_it_stays() -> None:
    world = World((RESOURCE, cidr("more", "10.1.0.0/24", deleted=LONG_AGO)), (ADDRESSES, address("10.1.0.7")))
    world.settle(SERVICE_CIDR)

    (found,) = world.list(RESOURCE)
    ready = find(found["status"]["conditions"], "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "Terminating")
    assert found["metadata"]["finalizers"] == [FINALIZER]


def test_a_range_that_nobody_needs_goes() -> None:
    world = World((RESOURCE, cidr("more", "10.1.0.0/24", deleted=LONG_AGO)), (ADDRESSES, address("10.2.0.7")))
    world.settle(SERVICE_CIDR)

    assert not any(each["metadata"].get("finalizers") for each in world.list(RESOURCE))


@pytest.mark.parametrize(
    ("own", "others", "used", "needed"),
    [
        ("10.1.0.0/24", [], ["10.1.0.7"], True),
        ("10.1.0.0/24", ["10.1.0.0/16"], ["10.1.0.7"], False),
        ("10.1.0.0/16", ["10.1.0.0/24"], ["10.1.0.7"], False),
        ("10.1.0.0/16", ["10.1.0.0/24"], ["10.1.1.7"], True),
        ("fd00::/64", ["10.1.0.0/24"], ["10.1.0.7"], False),
    ],
)
def test_who_needs_a_range(own: str, others: list[str], used: list[str], needed: bool) -> None:
    networks = [ipaddress.ip_network(other) for other in others]
    found = is_needed([ipaddress.ip_network(own)], networks, [ipaddress.ip_address(a) for a in used])

    assert found is needed

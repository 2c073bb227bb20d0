"""Endpoints kept by hand and the slices that mirror them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controllers.world import World, workload
from timonel.controllers.endpointslice_mirroring import (
    ENDPOINTS,
    ENDPOINTSLICE_MIRRORING,
    LEADER,
    MANAGER,
    SKIP,
    SLICES,
)
from timonel.objects.meta import Key, Object, controller_of


def endpoints(*subsets: Object, **meta: Any) -> Object:
    return {"metadata": {"name": "web", "namespace": "shop", **meta}, "subsets": list(subsets)}


def subset(port: int, *ready: str, unready: tuple[str, ...] = ()) -> Object:
    found: Object = {"addresses": [{"ip": ip} for ip in ready], "ports": [{"port": port, "protocol": "TCP"}]}
    return {**found, **({"notReadyAddresses": [{"ip": ip} for ip in unready]} if unready else {})}


def world_of(made: Object, **spec: Any) -> World:
    return World(("services", workload("Service", api="v1", **spec)), (ENDPOINTS, made))


def content(world: World) -> set[tuple[str, int, str, bool]]:
    return {
        (s["addressType"], s["ports"][0]["port"], e["addresses"][0], e["conditions"]["ready"])
        for s in world.list(SLICES)
        for e in s["endpoints"]
    }


def test_subsets_become_slices_by_ports_and_family() -> None:
    made = endpoints(
        subset(80, "10.0.0.1", "fd00::1", unready=("10.0.0.2",)),
        subset(81, "10.0.0.1"),
        labels={"app": "web"},
        annotations={"note": "kept", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    )
    world = world_of(made)
    world.settle(ENDPOINTSLICE_MIRRORING)

    assert content(world) == {
        ("IPv4", 80, "10.0.0.1", True),
        ("IPv4", 80, "10.0.0.2", False),
        ("IPv6", 80, "fd00::1", True),
        ("IPv4", 81, "10.0.0.1", True),
    }
    first = world.list(SLICES)[0]
    assert first["metadata"]["annotations"] == {"note": "kept"}
    assert first["metadata"]["labels"] == {
        "app": "web",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": MANAGER,
    }
    owner = controller_of(first)
    assert owner is not None
    assert owner["kind"] == "Endpoints"


@pytest.mark.parametrize(
    ("meta", "spec"),
    [
        ({"labels": {SKIP: "true"}}, {}),
        ({"annotations": {LEADER: "{}"}}, {}),
        ({}, {"selector": {"app": "web"}}),
    ],
)
def test_some_endpoints_are_not_mirrored(meta: Object, spec: Object) -> None:
    world = world_of(endpoints(subset(80, "10.0.0.1")))
    world.settle(ENDPOINTSLICE_MIRRORING)
    assert len(world.list(SLICES)) == 1

    world.change(ENDPOINTS, "web", metadata=meta)
    world.change("services", "web", spec=spec)
    world.settle(ENDPOINTSLICE_MIRRORING)
    assert world.list(SLICES) == []


def test_what_is_gone_takes_its_slices_along() -> None:
    world = world_of(endpoints(subset(80, "10.0.0.1")))
    world.settle(ENDPOINTSLICE_MIRRORING)
    world.remove(ENDPOINTS, Key("shop", "web"))
    world.sync(ENDPOINTSLICE_MIRRORING, Key("shop", "web"))

    assert world.list(SLICES) == []


def test_what_cannot_be_mirrored_is_reported() -> None:
    many = [f"10.{n // 250}.{n % 250}.1" for n in range(1002)]
    world = world_of(endpoints(subset(80, "nowhere", *many)))
    world.settle(ENDPOINTSLICE_MIRRORING)

    assert len(content(world)) == 1000
    assert world.events[:2] == [
        ("Warning", "InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"),
        ("Warning", "TooManyAddressesToMirror",
         "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped"),
    ]  # fmt: skip


ips = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), unique=True, max_size=3)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([80, 81]), ips), max_size=2, unique_by=lambda s: s[0]), max_size=4
    )
)
def test_any_series_of_changes_ends_in_a_mirror(series: list[list[tuple[int, list[str]]]]) -> None:
    world = world_of(endpoints())
    wanted: set[tuple[str, int, str, bool]] = set()
    for state in series:
        world.change(ENDPOINTS, "web", subsets=[subset(port, *found) for port, found in state])
        world.settle(ENDPOINTSLICE_MIRRORING)
        wanted = {("IPv6" if ":" in ip else "IPv4", port, ip, True) for port, found in state for ip in found}
        assert content(world) == wanted

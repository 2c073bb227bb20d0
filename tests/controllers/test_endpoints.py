from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import World, merged, node, pod, workload
from timonel.control.actions import Update
from timonel.controllers.endpoints import ENDPOINTS
from timonel.controllers.endpointslice import ENDPOINTSLICE
from timonel.objects.meta import Key, Object, labels_of

SLICES = "endpointslices.discovery.k8s.io"
PORT = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}


def service(**spec: Any) -> Object:
    defaults: Object = {
        "selector": {"app": "web"},
        "ports": [PORT],
        "clusterIP": "10.96.0.1",
        "ipFamilies": ["IPv4"],
    }
    return workload("Service", api="v1", **{**defaults, **spec})


def backend(name: str, ip: str, **kwargs: Any) -> Object:
    made = pod(name, **kwargs)
    made["status"]["podIP"] = ip
    made["status"]["podIPs"] = [{"ip": ip}]
    return made


def slices(world: World) -> list[Object]:
    return sorted(world.list(SLICES), key=lambda s: str(s["metadata"]["name"]))


def endpoints(world: World) -> dict[str, Object]:
    return {e["targetRef"]["name"]: e for s in slices(world) for e in s["endpoints"]}


def addresses(world: World) -> list[str]:
    found = [a for s in slices(world) for e in s["endpoints"] for a in e["addresses"]]
    assert len(found) == len(set(found))
    return sorted(found)


def test_an_endpoint_says_where_and_how_its_pod_is() -> None:
    zoned = node("n1", labels={"topology.kubernetes.io/zone": "east"})
    world = World(("services", service()), ("nodes", zoned), ("pods", backend("a", "10.0.0.1")))
    world.settle(ENDPOINTSLICE)

    (piece,) = slices(world)
    assert piece["endpoints"] == [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a", "uid": "uid-a"},
            "nodeName": "n1",
            "zone": "east",
        }
    ]
    assert piece["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert labels_of(piece) == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }


def test_a_service_without_pods_has_an_empty_slice() -> None:
    world = World(("services", service()))
    world.settle(ENDPOINTSLICE)

    (piece,) = slices(world)
    assert (piece["endpoints"], piece["ports"]) == ([], [])


def test_readiness_termination_and_publishing_are_told_apart() -> None:
    some = [
        backend("ready", "10.0.0.1"),
        backend("starting", "10.0.0.2", is_ready=False),
        backend("leaving", "10.0.0.3", deletionTimestamp="2026-01-01T00:00:00Z"),
        backend("ended", "10.0.0.4", phase="Succeeded"),
    ]
    world = World(("services", service()), *(("pods", p) for p in some))
    world.settle(ENDPOINTSLICE)

    told = {name: tuple(e["conditions"].values()) for name, e in endpoints(world).items()}
    assert told == {
        "ready": (True, True, False),
        "starting": (False, False, False),
        "leaving": (False, True, True),
    }

    world.change("services", "web", spec={"publishNotReadyAddresses": True})
    world.settle(ENDPOINTSLICE)
    assert all(e["conditions"]["ready"] for e in endpoints(world).values())


def test_a_named_port_may_mean_another_number_on_each_pod() -> None:
    def named(name: str, ip: str, number: int) -> Object:
        made = backend(name, ip)
        made["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": number, "protocol": "TCP"}]
        return made

    wanted = service(ports=[{**PORT, "targetPort": "web"}])
    some = [named("a", "10.0.0.1", 8080), named("b", "10.0.0.2", 9090), backend("c", "10.0.0.3")]
    world = World(("services", wanted), *(("pods", p) for p in some))
    world.settle(ENDPOINTSLICE, ENDPOINTS)

    assert sorted(s["ports"][0]["port"] for s in slices(world)) == [8080, 9090]
    assert sorted(endpoints(world)) == ["a", "b"]
    (older,) = world.list("endpoints")
    assert sorted(s["ports"][0]["port"] for s in older["subsets"]) == [8080, 9090]


def test_a_headless_service_gives_pods_their_names() -> None:
    named = backend("a", "10.0.0.1")
    named["spec"].update(hostname="db-0", subdomain="web")
    world = World(("services", service(clusterIP="None", ports=[])), ("pods", named))
    world.settle(ENDPOINTSLICE, ENDPOINTS)

    assert endpoints(world)["a"]["hostname"] == "db-0"
    assert labels_of(slices(world)[0])["service.kubernetes.io/headless"] == ""
    (older,) = world.list("endpoints")
    assert older["subsets"] == [
        {
            "addresses": [
                {
                    "ip": "10.0.0.1",
                    "hostname": "db-0",
                    "nodeName": "n1",
                    "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a", "uid": "uid-a"},
                }
            ]
        }
    ]


def test_one_pods_change_writes_one_slice() -> None:
    some = [backend(f"p{i}", f"10.0.{i // 200}.{i % 200 + 1}") for i in range(230)]
    world = World(("services", service()), *(("pods", p) for p in some))
    world.settle(ENDPOINTSLICE)
    assert sorted(len(s["endpoints"]) for s in slices(world)) == [30, 100, 100]

    world.applied.clear()
    world.put("pods", merged(some[150], {"status": {"conditions": []}}))
    world.settle(ENDPOINTSLICE)
    assert [type(x) for x in world.applied] == [Update]


def test_ready_and_unready_addresses_are_kept_apart() -> None:
    some = [backend("a", "10.0.0.1"), backend("b", "10.0.0.2", is_ready=False)]
    world = World(("services", service()), *(("pods", p) for p in some))
    world.settle(ENDPOINTS)

    (older,) = world.list("endpoints")
    (subset,) = older["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.0.0.1"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]

    world.remove("services", Key("shop", "web"))
    world.sync(ENDPOINTS, Key("shop", "web"))
    assert world.list("endpoints") == []


def test_services_without_a_selector_are_left_to_others() -> None:
    world = World(("services", service(selector={})), ("pods", backend("a", "10.0.0.1")))
    world.settle(ENDPOINTSLICE, ENDPOINTS)

    assert world.applied == []


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "drop", "ports"]), st.integers(0, 130)), max_size=6))
def test_slices_always_hold_exactly_the_pods(steps: list[tuple[str, int]]) -> None:
    world = World(("services", service()))
    serial = 0
    for kind, count in steps:
        if kind == "ports":
            world.change("services", "web", spec={"ports": [{**PORT, "targetPort": 8000 + count}]})
        for _ in range(count):
            if kind == "add":
                serial += 1
                world.add("pods", backend(f"p{serial}", f"10.0.{serial // 200}.{serial % 200 + 1}"))
            elif kind == "drop" and world.list("pods"):
                gone = world.list("pods")[count % len(world.list("pods"))]
                world.remove("pods", Key("shop", gone["metadata"]["name"]), grace=0)
        world.settle(ENDPOINTSLICE, rounds=4)

        assert addresses(world) == sorted(p["status"]["podIP"] for p in world.list("pods"))
        assert all(len(s["endpoints"]) <= 100 for s in slices(world))
        full = [s for s in slices(world) if s["endpoints"]]
        assert len(slices(world)) == max(1, len(full))


@pytest.mark.parametrize(
    ("preference", "hints"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "east"}]}),
        ("PreferSameZone", {"forZones": [{"name": "east"}]}),
        ("PreferSameNode", {"forZones": [{"name": "east"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_who_is_near_is_preferred_if_the_service_says_so(
    preference: str | None, hints: Object | None
) -> None:
    zoned = node("n1", labels={"topology.kubernetes.io/zone": "east"})
    some = service(**({"trafficDistribution": preference} if preference else {}))
    world = World(("services", some), ("nodes", zoned), ("pods", backend("a", "10.0.0.1")),
                  ("pods", backend("b", "10.0.0.2", is_ready=False)))  # fmt: skip
    world.settle(ENDPOINTSLICE)

    assert endpoints(world)["a"].get("hints") == hints
    assert "hints" not in endpoints(world)["b"]


def test_what_is_written_says_since_when_it_should_have_been() -> None:
    changed = "endpoints.kubernetes.io/last-change-trigger-time"
    world = World(("services", service()), ("pods", backend("a", "10.0.0.1")))
    world.settle(ENDPOINTSLICE, ENDPOINTS)
    (piece,), (whole,) = slices(world), world.list("endpoints")
    since = world.list("services")[0]["metadata"]["creationTimestamp"]
    noted = min(since, world.list("pods")[0]["status"]["conditions"][0]["lastTransitionTime"])
    assert [o["metadata"]["annotations"][changed] for o in (piece, whole)] == [noted, noted]

    late = backend("b", "10.0.0.2")
    late["status"]["conditions"][0]["lastTransitionTime"] = "2030-01-01T00:00:00Z"
    world.add("pods", late)
    world.settle(ENDPOINTSLICE, ENDPOINTS)
    (piece,), (whole,) = slices(world), world.list("endpoints")
    assert [o["metadata"]["annotations"][changed] for o in (piece, whole)] == ["2030-01-01T00:00:00Z"] * 2

    world.remove("pods", Key("shop", "a"), grace=0)
    world.settle(ENDPOINTSLICE, ENDPOINTS)
    (piece,), (whole,) = slices(world), world.list("endpoints")
    assert [changed in (o["metadata"].get("annotations") or {}) for o in (piece, whole)] == [False, False]

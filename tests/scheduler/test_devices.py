"""Devices for claims: structured parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scheduler.test_cycle import Objects, decide, node, pod, world
from timonel.objects.meta import Object
from timonel.scheduler.devices import AllocationError, Claim, allocate, available, used_by

DRIVER = "gpu.example.com"
N1 = node("n1")


def part(*devices: Object, name: str = "s", generation: int = 1, count: int = 1, **place: Any) -> Object:
    pool = {"name": "p", "generation": generation, "resourceSliceCount": count}
    return {
        "metadata": {"name": name},
        "spec": {"driver": DRIVER, "pool": pool, "devices": list(devices), **(place or {"nodeName": "n1"})},
    }


def gpu(name: str, *, model: str = "a", memory: str = "8Gi", **fields: Any) -> Object:
    attributes = {"model": {"string": model}, "version": {"version": "1.2.0"}}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": memory}}, **fields}


def claim(*requests: Object, name: str = "c", **devices: Any) -> Object:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def request(name: str = "r", *, cel: str = "", **fields: Any) -> Object:
    selectors = [{"cel": {"expression": cel}}] if cel else []
    return {"name": name, "exactly": {"deviceClassName": "gpu", "selectors": selectors, **fields}}


def device_class(name: str) -> Object | None:
    expression = f'device.driver == "{DRIVER}"'
    found = {"metadata": {"name": name}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}
    return found if name == "gpu" else None


def given(claims: list[Object], slices: list[Object], used: Any = ()) -> list[list[str]] | None:
    """The names of the devices of each claim."""
    devices, complete = available(slices, N1, lambda selector: False)
    found = allocate([Claim(c, device_class) for c in claims], devices, complete=complete, used=used, node=N1)
    return None if found is None else [[r["device"] for r in a["devices"]["results"]] for a in found]


TWO = part(gpu("g1"), gpu("g2", model="b", memory="80Gi"))


@pytest.mark.parametrize(
    ("claims", "slices", "expected"),
    [
        ([claim(request())], [TWO], [["g1"]]),
        ([claim(request(count=2))], [TWO], [["g1", "g2"]]),
        ([claim(request(count=3))], [TWO], None),
        ([claim(request()), claim(request(), name="d")], [TWO], [["g1"], ["g2"]]),
        ([claim(request(allocationMode="All"))], [TWO], [["g1", "g2"]]),
        ([claim(request(cel=f'device.attributes["{DRIVER}"].model == "b"'))], [TWO], [["g2"]]),
        (
            [claim(request(cel=f'device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0'))],
            [TWO],
            [["g2"]],
        ),
        (
            [claim(request(cel=f'device.attributes["{DRIVER}"].version.isGreaterThan(semver("1.0.0"))'))],
            [TWO],
            [["g1"]],
        ),
        ([claim(request(cel='"x" in device.attributes["other.com"]'))], [TWO], None),
        (
            [claim(request("a"), request("b", cel=f'device.attributes["{DRIVER}"].model == "a"'))],
            [TWO],
            [["g2", "g1"]],
        ),
        ([claim(request())], [part(gpu("g1"), nodeName="n2")], None),
        ([claim(request())], [part(gpu("g1"), allNodes=True)], [["g1"]]),
        ([claim(request())], [part(gpu("old")), part(gpu("new"), name="t", generation=2)], [["new"]]),
        ([claim(request())], [part(gpu("g1"), count=2)], None),
        ([claim(request())], [part(gpu("g1", taints=[{"key": "k", "effect": "NoSchedule"}]))], None),
        (
            [claim(request(tolerations=[{"key": "k", "operator": "Exists"}]))],
            [part(gpu("g1", taints=[{"key": "k", "effect": "NoSchedule"}]))],
            [["g1"]],
        ),
        (
            [claim(request(count=2), constraints=[{"matchAttribute": f"{DRIVER}/model"}])],
            [part(gpu("g1"), gpu("g2", model="b"), gpu("g3", model="b"))],
            [["g2", "g3"]],
        ),
        (
            [claim(request(count=2), constraints=[{"distinctAttribute": f"{DRIVER}/model"}])],
            [part(gpu("g1"), gpu("g2"), gpu("g3", model="b"))],
            [["g1", "g3"]],
        ),
    ],
)
def test_what_is_given(claims: list[Object], slices: list[Object], expected: list[list[str]] | None) -> None:
    assert given(claims, slices) == expected


def test_the_first_available_of_several() -> None:
    wanted = {"name": "r", "firstAvailable": [
        {"name": "many", "deviceClassName": "gpu", "count": 5},
        {"name": "one", "deviceClassName": "gpu"},
    ]}  # fmt: skip

    devices, complete = available([TWO], N1, lambda selector: False)
    (found,) = (
        allocate([Claim(claim(wanted), device_class)], devices, complete=complete, used=(), node=N1) or []
    )

    assert [r["request"] for r in found["devices"]["results"]] == ["r/one"]
    assert found["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n1"]


def test_what_others_have_is_not_given_again_but_administrators_may_look() -> None:
    result = {"request": "r", "driver": DRIVER, "pool": "p", "device": "g1"}
    other = {"status": {"allocation": {"devices": {"results": [result]}}}}

    assert given([claim(request())], [TWO], used_by([other])) == [["g2"]]
    assert given([claim(request(adminAccess=True))], [TWO], used_by([other])) == [["g1"]]


def test_a_class_that_is_missing() -> None:
    with pytest.raises(AllocationError, match="request r: device class fpga does not exist"):
        Claim(claim(request(deviceClassName="fpga")), device_class)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([claim(request())], "n1"),
        (
            [claim(request(count=3))],
            "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: "
            "0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            [claim(request(deviceClassName="fpga"))],
            "0/2 nodes are available: request r: device class fpga does not exist. no new claims to deallocate, "
            "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        ),
        (
            [],
            '0/2 nodes are available: resourceclaim.resource.k8s.io "c" not found. no new claims to deallocate, '
            "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        ),
    ],
)
def test_pods_with_claims(claims: list[Object], expected: str) -> None:
    found = device_class("gpu")
    assert found is not None
    reads = Objects(resourceclaims=claims, resourceslices=[TWO], deviceclasses=[found])
    obj = pod(resourceClaims=[{"name": "g", "resourceClaimName": "c"}])

    assert decide(world([N1, node("n2")]), obj, reads) == expected

"""Devices for claims: structured parameters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.scheduler.test_cycle import Objects, decide, node, pod, world
from timonel.objects.meta import Object
from timonel.scheduler.devicepools import Pools, Taken, taken_by
from timonel.scheduler.devices import AllocationError, Claim, allocate

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
    config = [{"opaque": {"driver": DRIVER, "parameters": {"text": "class"}}}]
    spec = {"selectors": [{"cel": {"expression": expression}}], "config": config}
    found = {"metadata": {"name": name}, "spec": spec}
    return found if name == "gpu" else None


def allocated(claims: list[Object], slices: list[Object], taken: Taken | None = None) -> list[Object] | None:
    numbers = itertools.count(1)
    return allocate(
        [Claim(c, device_class) for c in claims],
        Pools(slices).on(N1, lambda selector: bool(selector["nodeSelectorTerms"])),
        node=N1,
        matches=lambda selector: bool(selector["nodeSelectorTerms"]),
        taken=taken or Taken(),
        new_id=lambda: f"share-{next(numbers)}",
    )


def given(claims: list[Object], slices: list[Object], taken: Taken | None = None) -> list[list[str]] | None:
    """The names of the devices of each claim."""
    found = allocated(claims, slices, taken)
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

    (found,) = allocated([claim(wanted)], [TWO]) or []

    assert [r["request"] for r in found["devices"]["results"]] == ["r/one"]
    assert found["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n1"]


def test_what_others_have_is_not_given_again_but_administrators_may_look() -> None:
    result = {"request": "r", "driver": DRIVER, "pool": "p", "device": "g1"}
    taken = taken_by([{"devices": {"results": [result]}}])

    assert given([claim(request())], [TWO], taken) == [["g2"]]
    assert given([claim(request(adminAccess=True))], [TWO], taken) == [["g1"]]
    assert given([claim(request("a", adminAccess=True), request("b", adminAccess=True))], [TWO]) == [
        ["g1", "g2"]
    ]
    assert given([claim(request(allocationMode="All"))], [TWO], taken) is None


def test_a_tainted_device_is_one_of_all() -> None:
    slices = [part(gpu("g1"), gpu("g2", taints=[{"key": "k", "effect": "NoExecute"}]))]

    assert given([claim(request(allocationMode="All"))], slices) is None
    assert given([claim(request())], slices) == [["g1"]]


# ---- counters that devices share


def partition(name: str, memory: str) -> Object:
    counters = {"memory": {"value": memory}}
    return gpu(name, consumesCounters=[{"counterSet": "card", "counters": counters}])


CARD = {"name": "card", "counters": {"memory": {"value": "40Gi"}}}
PARTITIONED = [
    part(partition("whole", "40Gi"), partition("half-a", "20Gi"), partition("half-b", "20Gi"), count=2),
    part(name="counters", count=2, sharedCounters=[CARD], nodeName="n1"),
]


@pytest.mark.parametrize(
    ("claims", "taken", "expected"),
    [
        ([claim(request())], [], [["whole"]]),
        ([claim(request(count=2))], [], [["half-a", "half-b"]]),
        ([claim(request(count=3))], [], None),
        ([claim(request())], ["half-b"], [["half-a"]]),
        ([claim(request())], ["whole"], None),
        ([claim(request()), claim(request(), name="d")], [], [["half-a"], ["half-b"]]),
        ([claim(request(allocationMode="All"))], [], None),
    ],
)
def test_partitions_draw_on_what_they_share(
    claims: list[Object], taken: list[str], expected: list[list[str]] | None
) -> None:
    results = [{"request": "r", "driver": DRIVER, "pool": "p", "device": name} for name in taken]

    assert given(claims, PARTITIONED, taken_by([{"devices": {"results": results}}])) == expected


@pytest.mark.parametrize(
    "slices",
    [
        [part(gpu("g1"), gpu("g1"))],  # a name twice
        [part(partition("half", "20Gi"))],  # counters that are nowhere
        [part(gpu("g1"), count=2)],  # not all of it is there yet
    ],
)
def test_nothing_is_given_from_a_pool_that_is_not_in_order(slices: list[Object]) -> None:
    assert given([claim(request())], slices) is None
    good = part(gpu("good"), name="q")
    good["spec"]["pool"]["name"] = "q"
    assert given([claim(request())], [*slices, good]) == [["good"]]
    assert given([claim(request(allocationMode="All"))], [*slices, good]) is None


# ---- capacity that several consume


def nic(policy: Object | None = None) -> Object:
    bandwidth: Object = {"value": "10Gi"}
    if policy is not None:
        bandwidth["requestPolicy"] = policy
    return {"name": "nic", "allowMultipleAllocations": True, "capacity": {"bandwidth": bandwidth}}


def some(amount: str, name: str = "r", **fields: Any) -> Object:
    return request(name, capacity={"requests": {"bandwidth": amount}}, **fields)


RANGE = {"default": "1Gi", "validRange": {"min": "1Gi", "max": "8Gi", "step": "2Gi"}}
VALUES = {"default": "2Gi", "validValues": ["2Gi", "4Gi"]}


@pytest.mark.parametrize(
    ("policy", "asked", "expected"),
    [
        (None, ["4Gi", "6Gi"], ["4Gi", "6Gi"]),
        (None, ["4Gi", "7Gi"], None),
        (None, [None], ["10Gi"]),  # all of it
        (RANGE, [None, "1Mi"], ["1Gi", "1Gi"]),
        (RANGE, ["2Gi"], ["3Gi"]),
        (RANGE, ["8Gi"], None),  # up to 9Gi, which is too much
        (VALUES, ["3Gi", "1Gi"], ["4Gi", "2Gi"]),
        (VALUES, ["5Gi"], None),
        (VALUES, ["4Gi", "4Gi", "4Gi"], None),
    ],
)
def test_portions_of_a_shared_device(
    policy: Object | None, asked: list[str | None], expected: list[str] | None
) -> None:
    claims = [
        claim(some(amount) if amount else request(), name=f"c{number}") for number, amount in enumerate(asked)
    ]
    found = allocated(claims, [part(nic(policy))])

    if expected is None:
        assert found is None
        return
    assert found is not None
    results = [allocation["devices"]["results"][0] for allocation in found]
    assert [r["consumedCapacity"]["bandwidth"] for r in results] == expected
    assert [r["shareID"] for r in results] == [f"share-{n}" for n in range(1, len(asked) + 1)]


def test_what_others_consume_is_not_there() -> None:
    result = {
        "driver": DRIVER,
        "pool": "p",
        "device": "nic",
        "shareID": "x",
        "consumedCapacity": {"bandwidth": "8Gi"},
    }
    taken = taken_by([{"devices": {"results": [result]}}])

    assert given([claim(some("2Gi"))], [part(nic())], taken) == [["nic"]]
    assert given([claim(some("3Gi"))], [part(nic())], taken) is None
    assert given([claim(some("2Gi", cel="device.allowMultipleAllocations"))], [part(nic())], taken) == [
        ["nic"]
    ]


def test_capacity_tells_whole_devices_apart_too() -> None:
    wanted = claim(request(capacity={"requests": {f"{DRIVER}/memory": "40Gi"}}))

    assert given([wanted], [TWO]) == [["g2"]]
    assert given([claim(request(capacity={"requests": {"colour": "1"}}))], [TWO]) is None


# ---- what stands in an allocation


def test_conditions_of_binding_and_where_the_device_can_be_used() -> None:
    conditions: Object = {"bindingConditions": ["attached"], "bindingFailureConditions": ["broken"]}
    fabric = part(gpu("far", bindsToNode=True, **conditions), allNodes=True)
    (found,) = allocated([claim(request())], [fabric]) or []
    (result,) = found["devices"]["results"]

    assert {key: result[key] for key in conditions} == conditions
    assert found["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["n1"]
    (free,) = allocated([claim(request())], [part(gpu("far"), allNodes=True)]) or []
    assert "nodeSelector" not in free


def test_selectors_of_slices_become_that_of_the_allocation() -> None:
    def zone(value: str) -> Object:
        return {"key": "zone", "operator": "In", "values": [value]}

    slices = [
        part(
            gpu(f"g{n}"),
            name=f"s{n}",
            count=2,
            nodeSelector={"nodeSelectorTerms": [{"matchExpressions": [r]}]},
        )
        for n, r in enumerate((zone("a"), zone("a")))
    ]
    (found,) = allocated([claim(request(count=2))], slices) or []

    assert found["nodeSelector"] == {"nodeSelectorTerms": [{"matchExpressions": [zone("a")]}]}


def test_configuration_is_told_once_for_each_class_and_for_whom() -> None:
    def opaque(text: str) -> Object:
        return {"opaque": {"driver": DRIVER, "parameters": {"text": text}}}

    wanted = claim(
        request("a"), request("b"),
        config=[{**opaque("all")}, {**opaque("one"), "requests": ["b"]}, {**opaque("both"), "requests": ["a", "b"]}],
    )  # fmt: skip
    (found,) = allocated([wanted], [TWO]) or []

    config = found["devices"]["config"]
    assert [(c["source"], c.get("requests"), c["opaque"]["parameters"]["text"]) for c in config] == [
        ("FromClass", None, "class"),
        ("FromClaim", None, "all"),
        ("FromClaim", ["b"], "one"),
        ("FromClaim", None, "both"),
        ("FromClaim", None, "both"),
    ]


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

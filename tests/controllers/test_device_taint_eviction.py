"""Pods on devices that are tainted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controllers.world import START, World, pod
from timonel.controllers.device_taint_eviction import CLAIMS, DEVICE_TAINT_EVICTION, SLICES
from timonel.objects.meta import Key, Object, format_time


def tainted(effect: str = "NoExecute", *, generation: int = 1, since: float = START) -> Object:
    taint = {"key": "broken", "value": "fan", "effect": effect, "timeAdded": format_time(since)}
    return {
        "metadata": {"name": f"slice-{generation}-{effect}".lower()},
        "spec": {
            "driver": "gpu.example",
            "pool": {"name": "n1", "generation": generation},
            "devices": [{"name": "gpu-0", "taints": [taint] if effect else []}],
        },
    }


def world_of(*slices: Object, tolerations: Any = None, node: str = "n1") -> World:
    user = pod("web", node=node)
    user["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "gpu"}]
    result = {"driver": "gpu.example", "pool": "n1", "device": "gpu-0", "tolerations": tolerations}
    claim = {
        "metadata": {"name": "gpu", "namespace": "shop"},
        "status": {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "web", "uid": user["metadata"]["uid"]}],
        },
    }
    return World(("pods", user), (CLAIMS, claim), *((SLICES, s) for s in slices))


def is_leaving(world: World) -> bool:
    world.settle(DEVICE_TAINT_EVICTION)
    return "deletionTimestamp" in world.list("pods")[0]["metadata"]


@pytest.mark.parametrize(
    ("slices", "options", "leaves"),
    [
        ([tainted()], {}, True),
        ([tainted("NoSchedule")], {}, False),
        ([tainted(), tainted("", generation=2)], {}, False),  # an older generation counts no more
        ([tainted()], {"tolerations": [{"key": "broken", "operator": "Exists"}]}, False),
        ([tainted()], {"tolerations": [{"key": "broken", "operator": "Equal", "value": "bus"}]}, True),
        ([tainted()], {"node": ""}, False),
    ],
)
def test_pods_leave_tainted_devices(slices: list[Object], options: Object, leaves: bool) -> None:
    assert is_leaving(world_of(*slices, **options)) == leaves


def test_a_toleration_may_end() -> None:
    brief = [{"key": "broken", "operator": "Exists", "tolerationSeconds": 60}]
    world = world_of(tainted(), tolerations=brief)
    assert not is_leaving(world)

    world.time = START + 61
    assert is_leaving(world)
    (left,) = world.list("pods")
    assert left["status"]["conditions"][-1]["reason"] == "DeletionByDeviceTaintManager"
    assert world.events == [("Normal", "DeviceTaintManagerEviction", "Marking for deletion")]


def test_a_slice_wakes_the_pods_on_its_devices() -> None:
    world = world_of(tainted())
    assert list(DEVICE_TAINT_EVICTION.watches[2].wakes(tainted(), world)) == [Key("shop", "web")]

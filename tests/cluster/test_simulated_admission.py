"""A node of the engine has the last word on what is bound to it, as a kubelet has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.harness import World, template
from tests.cluster.simulated import simulated
from timonel.objects.meta import Key

REJECTED = "Pod was rejected: "
SHORT = REJECTED + "Node didn't have enough resource: "


async def tight_node(world: World) -> None:
    sizes = {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/card": "1"}
    annotations = {"timonel.dev/simulated": "true"}
    node = {
        "metadata": {"name": "tight", "annotations": annotations},
        "status": {"capacity": sizes, "allocatable": sizes},
    }
    await world.client.create("nodes", node)


async def bound(world: World, name: str, requests: dict[str, str], **spec: Any) -> dict[str, Any]:
    """A pod that was bound to the node by hand; its status once it has one."""
    obj = template(nodeName="tight", **spec)
    extended = {key: value for key, value in requests.items() if "/" in key}
    obj["spec"]["containers"][0]["resources"] = {"requests": requests, "limits": extended}
    await world.create("pods", {"metadata": {"name": name}, "spec": obj["spec"]})

    async def settled() -> dict[str, Any]:
        status = await world.status("pods", name)
        return status if status.get("phase") != "Pending" else {}

    return await world.until(settled, within=10)


@pytest.mark.parametrize(
    ("requests", "spec", "reason", "message"),
    [
        ({"cpu": "1500m"}, {}, "OutOfcpu", SHORT + "cpu, requested: 1500, used: 1000, capacity: 2000"),
        (
            {"memory": "2Gi"}, {}, "OutOfmemory",
            SHORT + "memory, requested: 2147483648, used: 0, capacity: 1073741824",
        ),
        (
            {"example.com/card": "2"}, {}, "OutOfexample.com/card",
            SHORT + "example.com/card, requested: 2, used: 0, capacity: 1",
        ),
        (
            {}, {"nodeSelector": {"disk": "fast"}}, "NodeAffinity",
            REJECTED + "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
    ],
)  # fmt: skip
async def test_what_does_not_fit_has_failed(
    requests: dict[str, str], spec: dict[str, Any], reason: str, message: str
) -> None:
    async with simulated(1) as (world, _, _):
        await tight_node(world)
        assert (await bound(world, "first", {"cpu": "1"}))["phase"] == "Running"

        status = await bound(world, "second", requests, **spec)

        assert (status["phase"], status["reason"], status["message"]) == ("Failed", reason, message)


async def test_what_has_ended_or_is_gone_makes_room() -> None:
    async with simulated(1) as (world, simulation, _):
        await tight_node(world)
        for number in range(3):
            assert (await bound(world, f"pod-{number}", {"cpu": "500m"}))["phase"] == "Running"
        assert (await bound(world, "more", {}))["reason"] == "OutOfpods"

        await world.delete("pods", "pod-0")
        await world.pass_by(40)

        assert (await bound(world, "next", {"cpu": "1"}))["phase"] == "Running"
        assert simulation.engine.nodes["tight"].used == {"pods": 3, "cpu": 2000}


async def test_labels_and_sizes_count_as_they_are_now() -> None:
    async with simulated(1) as (world, _, _):
        await tight_node(world)
        await world.pass_by(1)
        labels = {"metadata": {"labels": {"disk": "fast"}}}
        await world.client.patch("nodes", Key("", "tight"), labels)

        status = await bound(world, "picky", {}, nodeSelector={"disk": "fast"})

        assert status["phase"] == "Running"

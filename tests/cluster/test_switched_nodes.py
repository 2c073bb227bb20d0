"""Nodes with an agent that are switched off and on by their annotation."""

from __future__ import annotations

from typing import Any

from tests.cluster.harness import World, cluster, workload
from timonel.aio.lifecycle import running
from timonel.distro.simulated import Simulation
from timonel.objects.meta import Key

NODE = "test-1"
LEASE = Key("kube-node-lease", NODE)


async def switch(world: World, how: str) -> None:
    patch = {"metadata": {"annotations": {"timonel.dev/simulated": how}}}
    await world.client.patch("nodes", Key("", NODE), patch)


async def ready(world: World) -> str:
    node = await world.client.get("nodes", Key("", NODE))
    return next(str(c["status"]) for c in node["status"]["conditions"] if c["type"] == "Ready")


async def renewed(world: World) -> Any:
    return (await world.client.get("leases", LEASE))["spec"]["renewTime"]


async def test_a_node_that_is_switched_off_is_lost_and_lives_again_when_it_is_switched_on() -> None:
    async with cluster() as world, running(Simulation(world.plane, agents={NODE})):
        await switch(world, "stopped")
        await world.pass_by(1)
        last = await renewed(world)

        await world.pass_by(30)

        assert await renewed(world) == last
        await world.until(lambda: is_ready(world, "Unknown"))

        await switch(world, "true")

        await world.until(lambda: is_ready(world, "True"), within=5)
        assert await renewed(world) > last


async def is_ready(world: World, status: str) -> bool:
    return await ready(world) == status


async def test_pods_of_a_node_that_is_switched_off_wait_until_it_is_on_again() -> None:
    async with cluster() as world, running(Simulation(world.plane, agents={NODE})):
        await world.create("deployments", workload(replicas=1))
        await world.until(world.ready_pods)
        await switch(world, "stopped")
        await world.pass_by(1)
        late = {
            "metadata": {"name": "late"},
            "spec": {"nodeName": NODE, "containers": [{"name": "web", "image": "web:1"}]},
        }
        await world.create("pods", late)

        await world.pass_by(20)

        assert (await world.status("pods", "late"))["phase"] == "Pending"

        await switch(world, "true")

        await world.until(lambda: phase_is(world, "late", "Running"), within=10)
        assert len(await world.ready_pods()) == 2


async def phase_is(world: World, name: str, phase: str) -> bool:
    return (await world.status("pods", name)).get("phase") == phase

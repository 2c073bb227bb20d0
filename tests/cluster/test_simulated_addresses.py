"""Addresses of pods on simulated nodes: given back, waited for, known again."""

from __future__ import annotations

import pytest

from tests.cluster.simulated import events_of, phases, pod_on, simulated, tiny_node, without_nodes
from timonel.aio.lifecycle import running
from timonel.distro.simulated import Simulation
from timonel.objects.meta import Key


@pytest.mark.parametrize("ending", ["completes", "fails", "is deleted"])
async def test_an_address_is_given_back_when_its_pod_ends(ending: str) -> None:
    """However many pods a node has had."""
    async with simulated(1) as (world, _, _):
        await tiny_node(world)
        how = {} if ending == "is deleted" else {"runFor": "1s", "exitCode": int(ending == "fails")}
        wanted = {"completes": "Succeeded", "fails": "Failed", "is deleted": "Running"}[ending]
        for number in range(12):
            await pod_on(world, f"p{number}", how=how, restartPolicy="Never" if how else "Always")
            await world.pass_by(3)
            found = await world.status("pods", f"p{number}")
            assert found["phase"] == wanted
            assert found["podIP"].startswith("10.9.0.")
            if ending == "is deleted":
                await world.delete("pods", f"p{number}")
                await world.pass_by(3)
        if ending != "is deleted":
            assert len(await phases(world)) == 12
            for number in range(12):  # what is given back a second time would be given to two
                await world.delete("pods", f"p{number}")
            await world.pass_by(3)
        for number in range(5):
            await pod_on(world, f"q{number}")
        await world.pass_by(3)
        assert len({(await world.status("pods", f"q{n}"))["podIP"] for n in range(5)}) == 5
        assert not await events_of(world, "FailedCreatePodSandBox")


async def test_a_pod_waits_for_an_address_and_goes_on_when_there_is_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with simulated(1) as (world, _, _):
        await tiny_node(world)
        await pod_on(world, "host", hostNetwork=True)
        for number in range(6):
            await pod_on(world, f"p{number}")
            await world.pass_by(1)
        await world.pass_by(60)
        assert (await phases(world)) == {
            "host": "Running",
            **{f"p{n}": "Running" for n in range(5)},
            "p5": "Pending",
        }
        status = await world.status("pods", "p5")
        assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
        (event,) = await events_of(world, "FailedCreatePodSandBox")
        assert event["involvedObject"]["name"] == "p5"
        assert event["message"].endswith("no IP addresses available in range set: 10.9.0.1-10.9.0.6")
        assert event["count"] > 3
        address = (await world.status("pods", "p2"))["podIP"]
        await world.delete("pods", "p2")
        await world.pass_by(15)
        assert (await world.status("pods", "p5"))["podIP"] == address
        assert not [r for r in caplog.records if r.exc_info]


async def test_addresses_in_use_are_known_again_after_a_restart() -> None:
    async with without_nodes(1) as world:
        async with running(Simulation(world.plane)):
            await tiny_node(world)
            await pod_on(world, "over", how={"runFor": "1s"}, restartPolicy="Never")
            await pod_on(world, "first")
            await pod_on(world, "second")
            await world.pass_by(5)
            await world.delete("pods", "first")
            await world.pass_by(5)
        async with running(Simulation(world.plane)):
            for number in range(5):
                await pod_on(world, f"p{number}")
            await world.pass_by(5)
            found = await phases(world)
            alive = [name for name, phase in found.items() if phase == "Running"]
            assert len(alive) == 5
            assert "second" in alive
            assert sorted([(await world.status("pods", name))["podIP"] for name in alive]) == [
                f"10.9.0.{n}" for n in range(2, 7)
            ]


async def test_addresses_of_pods_are_kept_while_their_node_is_away() -> None:
    async with simulated(1) as (world, _, _):
        await tiny_node(world)
        for number in range(3):
            await pod_on(world, f"p{number}")
        await world.pass_by(5)
        await world.client.delete("nodes", Key("", "tiny"))
        await world.pass_by(1)
        await pod_on(world, "early")
        await tiny_node(world)
        await pod_on(world, "late")
        await world.pass_by(5)
        addresses = [pod["status"].get("podIP") for pod in await world.all("pods")]
        assert sorted(addresses) == [f"10.9.0.{n}" for n in range(2, 7)]

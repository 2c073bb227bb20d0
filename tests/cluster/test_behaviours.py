"""A simulated pod does what its annotation says on every simulated node, whether it has an agent or the engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.cluster.harness import World, cluster, template
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running
from timonel.client.rest import Client
from timonel.distro.cluster import ADMIN, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import Simulation, first_nodes
from timonel.store.memory import MemoryStore

Make = Callable[[], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def by_engine() -> AsyncIterator[World]:
    clock = VirtualClock()
    config = ClusterConfig("test", components=("api", "controllers", "scheduler"), nodes=4)
    plane = Cluster(config, secrets=Secrets(), store=MemoryStore(), clock=clock, hosts=("127.0.0.1",))
    async with plane.running(), running(Simulation(plane, make=first_nodes(config))):
        world = World(Client(plane.transport_for(ADMIN), plane.index), clock, plane)
        await world.client.create("namespaces", {"metadata": {"name": "shop"}})
        await world.until(lambda: world.find("serviceaccounts", "default"))
        yield world


@pytest.fixture(params=[cluster, by_engine], ids=["agent", "engine"])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.param
    return found


async def lives(world: World, how: dict[str, Any], **container: Any) -> None:
    pod = template() | {"metadata": {"name": "web", "annotations": {"timonel.dev/simulate": json.dumps(how)}}}
    pod["spec"]["containers"][0] |= container
    await world.create("pods", pod)
    await world.pass_by(2)


async def seen(world: World) -> tuple[str, bool, int]:
    """Why the container waits, if it does; whether it is ready; how often it was restarted."""
    status = await world.status("pods", "web")
    (container,) = status.get("containerStatuses") or [{"state": {}}]
    waiting = (container["state"].get("waiting") or {}).get("reason", "")
    return waiting, bool(container.get("ready")), container.get("restartCount", 0)


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError"])
async def test_a_container_that_is_to_wait_waits(make: Make, reason: str) -> None:
    async with make() as world:
        await lives(world, {"waiting": reason, "message": "because"})

        assert await seen(world) == (reason, False, 0)
        await world.pass_by(600)
        assert await seen(world) == (reason, False, 0)
        status = await world.status("pods", "web")
        assert status["containerStatuses"][0]["state"]["waiting"]["message"] == "because"
        events = [e for e in await world.all("events") if e["reason"] == "Failed"]
        assert {e["message"] for e in events} == {f"Error: {reason}"}


async def test_it_may_wait_for_a_time_only(make: Make) -> None:
    async with make() as world:
        await lives(world, {"waiting": "ImagePullBackOff", "waitFor": "30s"})

        assert (await seen(world))[0] == "ImagePullBackOff"
        await world.pass_by(60)
        assert await seen(world) == ("", True, 0)


@pytest.mark.parametrize("probe", [{}, {"readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 2}}])
async def test_it_becomes_ready_when_it_says(make: Make, probe: dict[str, Any]) -> None:
    async with make() as world:
        await lives(world, {"readyAfter": "20s"}, **probe)

        assert await seen(world) == ("", False, 0)
        await world.pass_by(10)
        assert not (await seen(world))[1]
        await world.pass_by(15)
        assert await seen(world) == ("", True, 0)


async def test_or_never(make: Make) -> None:
    async with make() as world:
        await lives(world, {"ready": False})
        await world.pass_by(3600)

        assert await seen(world) == ("", False, 0)


async def test_a_failing_liveness_probe_restarts_it(make: Make) -> None:
    async with make() as world:
        probe = {"httpGet": {"port": 80}, "periodSeconds": 2, "failureThreshold": 3}
        await lives(world, {"failLivenessAfter": "10s"}, livenessProbe=probe)

        await world.pass_by(8)
        assert (await seen(world))[2] == 0
        await world.pass_by(60)
        assert (await seen(world))[2] >= 1


async def test_it_takes_its_time_to_stop_but_no_more_than_it_is_given(make: Make) -> None:
    async with make() as world:
        await lives(world, {"stopDelay": "8s"})
        await world.delete("pods", "web")

        await world.pass_by(5)
        assert await world.find("pods", "web") is not None
        await world.pass_by(6)
        assert await world.find("pods", "web") is None


async def test_what_cannot_be_understood_is_said(make: Make) -> None:
    async with make() as world:
        await lives(world, {"startDelay": "soon"})

        status = await world.status("pods", "web")
        waiting = status["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"
        assert waiting["message"] == "annotation timonel.dev/simulate: not a duration: soon"

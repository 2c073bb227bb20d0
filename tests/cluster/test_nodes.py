"""Nodes that come and go while their pods run."""

from __future__ import annotations

from tests.cluster.harness import cluster, workload
from timonel.objects.meta import Key


async def test_a_node_that_was_deleted_while_it_lives_is_back_before_its_pods_are_given_up() -> None:
    async with cluster() as world:
        await world.create("deployments.apps", workload(replicas=2))

        async def is_up() -> bool:
            return len(await world.ready_pods()) == 2

        await world.until(is_up)
        before = {pod["metadata"]["uid"] for pod in await world.ready_pods()}
        (node,) = await world.all("nodes", "")

        await world.client.delete("nodes", Key("", node["metadata"]["name"]))

        async def is_back() -> bool:
            found = await world.all("nodes", "")
            return bool(found) and found[0]["metadata"]["uid"] != node["metadata"]["uid"]

        await world.until(is_back, within=5)
        await world.pass_by(60)
        assert {pod["metadata"]["uid"] for pod in await world.ready_pods()} == before


async def test_an_idle_node_renews_its_lease_and_nothing_else() -> None:
    async with cluster(nodes=2) as world:
        await world.pass_by(60)
        before = {
            n["metadata"]["name"]: n["metadata"]["resourceVersion"] for n in await world.all("nodes", "")
        }
        await world.pass_by(120)
        after = {
            n["metadata"]["name"]: n["metadata"]["resourceVersion"] for n in await world.all("nodes", "")
        }

    assert after == before

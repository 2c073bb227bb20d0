"""One engine for many nodes, in a whole cluster."""

from __future__ import annotations

import json

import pytest

from tests.cluster.harness import template, workload
from tests.cluster.simulated import ready_nodes, simulated
from timonel.node.localpath import PROVISIONER
from timonel.objects.meta import Key, Object


async def test_many_nodes_run_many_pods_and_stay_alive() -> None:
    async with simulated(40) as (world, _, _):
        await world.create("deployments.apps", workload(replicas=100))

        async def is_up() -> bool:
            return len(await world.ready_pods()) == 100

        await world.until(is_up)
        await world.pass_by(900)

        assert len(await ready_nodes(world)) == 40
        assert len(await world.ready_pods()) == 100
        addresses = [pod["status"]["podIP"] for pod in await world.ready_pods()]
        assert len(set(addresses)) == 100


async def test_a_job_ends_and_what_crashes_is_tried_again() -> None:
    async with simulated(5) as (world, _, _):
        spec = template(restartPolicy="Never")
        spec["metadata"]["annotations"] = {"timonel.dev/simulate": json.dumps({"exitCode": 1})}
        await world.create(
            "jobs.batch", {"metadata": {"name": "bad"}, "spec": {"template": spec, "backoffLimit": 1}}
        )
        await world.create(
            "jobs.batch",
            {"metadata": {"name": "good"}, "spec": {"template": template(restartPolicy="Never")}},
        )

        async def are_over() -> bool:
            bad, good = await world.status("jobs.batch", "bad"), await world.status("jobs.batch", "good")
            return bad.get("failed") == 2 and good.get("succeeded") == 1

        await world.until(are_over, within=300)


async def test_claims_get_volumes_where_their_pods_go_and_lose_them() -> None:
    storage_class = {
        "metadata": {"name": "standard"},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    async with simulated(5) as (world, _, _):
        await world.client.create("storageclasses.storage.k8s.io", storage_class)
        await world.create(
            "persistentvolumeclaims",
            {"metadata": {"name": "data"}, "spec": {**claim, "storageClassName": "standard"}},
        )
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        pod = template(volumes=volumes) | {"metadata": {"name": "web", "labels": {"app": "web"}}}
        await world.create("pods", pod)

        await world.until(world.ready_pods)
        (volume,) = await world.all("persistentvolumes", "")
        (running,) = await world.ready_pods()
        terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert terms[0]["matchExpressions"][0]["values"] == [running["spec"]["nodeName"]]

        await world.delete("pods", "web")
        await world.delete("persistentvolumeclaims", "data")

        async def are_gone() -> bool:
            return not await world.all("persistentvolumes", "")

        await world.until(are_gone)


async def test_a_node_that_is_switched_off_is_given_up_and_comes_back() -> None:
    async with simulated(3) as (world, _, _):

        async def switch(value: str) -> None:
            patch = {"metadata": {"annotations": {"timonel.dev/simulated": value}}}
            await world.client.patch("nodes", Key("", "test-1"), patch)

        async def is_lost() -> bool:
            return await ready_nodes(world) == ["test-2", "test-3"]

        async def is_back() -> bool:
            return len(await ready_nodes(world)) == 3

        await world.pass_by(30)
        await switch("stopped")
        await world.until(is_lost, within=120)
        await switch("true")
        await world.until(is_back, within=60)


async def test_nodes_come_and_go_while_the_cluster_runs() -> None:
    async with simulated(1) as (world, simulation, _):
        annotations = {"kwok.x-k8s.io/node": "fake"}
        sizes = {"cpu": "2", "memory": "4Gi", "pods": "20"}
        node: Object = {
            "metadata": {"name": "late", "annotations": annotations},
            "status": {"capacity": sizes, "allocatable": sizes},
        }
        pod = {"metadata": {"name": "early"}, "spec": {**template()["spec"], "nodeName": "late"}}
        await world.create("pods", pod)
        await world.client.create("nodes", node)

        async def runs() -> bool:
            return (await world.status("pods", "early")).get("phase") == "Running"

        await world.until(runs)
        found = await world.client.get("nodes", Key("", "late"))
        assert found["status"]["capacity"] == sizes
        await world.client.delete("nodes", Key("", "late"))
        await world.pass_by(1)
        assert list(simulation.engine.nodes) == ["test-1"]
        assert not len(simulation.engine)


@pytest.mark.parametrize("seed", range(4))
async def test_faults_are_got_over(seed: int) -> None:
    """Writes that fail before or after they are done, and a server that is away for a minute."""
    async with simulated(10, seed=seed) as (world, _, unreliable):
        unreliable.often = 0.2
        await world.create("deployments.apps", workload(replicas=30))
        await world.pass_by(5)
        unreliable.away = True
        await world.pass_by(60)
        unreliable.away = False

        async def is_up() -> bool:
            return len(await world.ready_pods()) == 30 and len(await ready_nodes(world)) == 10

        await world.until(is_up, within=300)
        await world.delete("deployments.apps", "web")

        async def is_gone() -> bool:
            return not await world.all("pods")

        await world.until(is_gone, within=300)

"""One engine for many nodes, in a whole cluster."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.cluster.harness import World, template, workload
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running
from timonel.client.rest import Client
from timonel.client.transport import Transport, Unreachable
from timonel.distro.cluster import ADMIN, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import Simulation, first_nodes
from timonel.machinery.errors import Conflict, StatusError, TooManyRequests
from timonel.node.localpath import PROVISIONER
from timonel.node.simulation.stages import Stages, read
from timonel.objects.meta import Key, Object
from timonel.store.memory import MemoryStore

STAGES = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.status.podIP', operator: DoesNotExist}
  delay: {durationMilliseconds: 5000}
  next:
    event: {reason: Born, message: 'here is {{ .metadata.name }}'}
    statusTemplate: |
      conditions:
      - {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
      podIP: {{ PodIPWith .spec.nodeName false "" "" "" | Quote }}
      phase: Running
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: Exists}
  next:
    finalizers: {empty: true}
    delete: true
"""


class Unreliable:
    """A transport whose writes fail now and then, before or after they are done; `away` fails everything."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.often, self.away = 0.0, False

    def around(self, inner: Transport) -> Transport:
        self._inner = inner
        return cast(Transport, self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "watch":
            return self._watch
        if name not in ("create", "update", "patch", "delete", "get", "list"):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                raise Unreachable("away")
            early, late = self._random.random(), self._random.random()
            if name in ("get", "list") or not self.often:
                return await found(*args, **kwargs)
            if early < self.often:
                raise self._failure()
            answer = await found(*args, **kwargs)
            if late < self.often:
                raise self._failure()
            return answer

        return call

    async def _watch(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for event in self._inner.watch(*args, **kwargs):
            if self.away:
                raise Unreachable("away")
            yield event

    def _failure(self) -> Exception:
        kinds: list[Exception] = [
            Unreachable("lost"), Conflict("changed"), TooManyRequests("slow down"), StatusError("broken", code=500),
        ]  # fmt: skip
        return self._random.choice(kinds)


@asynccontextmanager
async def simulated(
    nodes: int, *, seed: int = 0, stages: Stages | None = None
) -> AsyncIterator[tuple[World, Simulation, Unreliable]]:
    clock = VirtualClock()
    config = ClusterConfig("test", components=("api", "controllers", "scheduler"), nodes=nodes)
    plane = Cluster(config, secrets=Secrets(), store=MemoryStore(), clock=clock, hosts=("127.0.0.1",))
    async with plane.running():
        unreliable = Unreliable(seed)
        simulation = Simulation(plane, make=first_nodes(config), stages=stages, through=unreliable.around)
        async with running(simulation):
            world = World(Client(plane.transport_for(ADMIN), plane.index), clock, plane)
            await world.client.create("namespaces", {"metadata": {"name": "shop"}})
            await world.until(lambda: world.find("serviceaccounts", "default"))
            yield world, simulation, unreliable


async def ready_nodes(world: World) -> list[str]:
    return [
        n["metadata"]["name"]
        for n in await world.all("nodes", "")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", ()))
    ]


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


async def test_a_whole_life_in_stages_runs_from_init_containers_to_finalizers() -> None:
    stages = read((Path(__file__).parent / "lives.yaml").read_text())
    async with simulated(2, stages=stages) as (world, _, _):
        spec = template(initContainers=[{"name": "first", "image": "init:1"}])
        meta = {
            "name": "one",
            "finalizers": ["kwok.x-k8s.io/fake"],
            "annotations": {DELAY: "10s", JITTER: "10s"},
        }
        await world.create("pods", {"metadata": meta, "spec": spec["spec"]})
        job = {"template": template(restartPolicy="Never")}
        await world.create("jobs.batch", {"metadata": {"name": "short"}, "spec": job})
        await world.pass_by(8)
        assert "startTime" not in await world.status("pods", "one")

        lives: list[tuple[str, str, str]] = []
        for _ in range(40):
            await world.pass_by(0.25)
            if (life := await life_of(world, "one")) not in lives:
                lives.append(life)

        assert lives == [
            ("Pending", "", ""),
            ("Pending", "waiting", "waiting"),
            ("Pending", "running", "waiting"),
            ("Pending", "terminated", "waiting"),
            ("Running", "terminated", "running"),
        ]
        assert (await world.status("jobs.batch", "short"))["succeeded"] == 1
        assert len(await ready_nodes(world)) == 2
        events = {e["reason"]: e["message"] for e in await world.all("events")}
        assert events["Created"].startswith("Created 1 of ")

        await world.delete("pods", "one")
        await world.pass_by(2)
        left = await world.find("pods", "one")
        assert left is not None
        assert "finalizers" not in left["metadata"]
        await world.pass_by(30)
        assert await world.find("pods", "one") is None


DELAY, JITTER = "pod-create.stage.kwok.x-k8s.io/delay", "pod-create.stage.kwok.x-k8s.io/jitter-delay"


async def life_of(world: World, name: str) -> tuple[str, str, str]:
    """Its phase, and the states of its first init container and its first container."""
    status = await world.status("pods", name)

    def state(statuses: str) -> str:
        return "".join(status[statuses][0]["state"]) if statuses in status else ""

    return status["phase"], state("initContainerStatuses"), state("containerStatuses")


async def test_pods_live_by_stages() -> None:
    async with simulated(2, stages=read(STAGES)) as (world, _, _):
        await world.create("deployments.apps", workload(replicas=2))
        await world.pass_by(4)
        assert not await world.ready_pods()
        await world.pass_by(2)

        assert len(await world.ready_pods()) == 2
        events = await world.all("events")
        assert any(e["reason"] == "Born" and e["message"].startswith("here is web-") for e in events)
        await world.delete("deployments.apps", "web")
        await world.pass_by(5)
        assert not await world.all("pods")

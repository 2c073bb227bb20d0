"""Controllers and scheduler on a wire where things go wrong: the end is the same as on a good one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.cluster.harness import NAMESPACE, World, template, workload
from timonel.aio.clock import VirtualClock
from timonel.aio.lifecycle import running_together
from timonel.client.faults import Faults, Faulty
from timonel.client.rest import Client
from timonel.client.transport import Transport
from timonel.distro.cluster import ADMIN, SCHEDULER, Cluster, Secrets
from timonel.distro.config import ClusterConfig
from timonel.distro.simulated import simulated_nodes
from timonel.objects import pods
from timonel.objects.meta import Object, controller_of
from timonel.server.request import User
from timonel.store.memory import MemoryStore

COUNTS = (
    "replicas", "readyReplicas", "updatedReplicas", "availableReplicas", "succeeded", "failed", "active",
    "numberReady", "desiredNumberScheduled", "updatedNumberScheduled", "currentHealthy", "expectedPods",
)  # fmt: skip
KINDS = (
    "deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch", "replicationcontrollers",
    "poddisruptionbudgets.policy", "persistentvolumeclaims", "services",
)  # fmt: skip


class FaultyCluster(Cluster):
    """Its controllers and its scheduler are on the bad wire; nodes and users are not."""

    faults: Faults

    def controller_transport(self, name: str) -> Transport:
        return Faulty(super().controller_transport(name), self.faults, name)

    def transport_for(self, user: User, *, keeps: bool = True) -> Transport:
        good = super().transport_for(user, keeps=keeps)
        return Faulty(good, self.faults) if user is SCHEDULER else good


@asynccontextmanager
async def cluster(faults: Faults) -> AsyncIterator[World]:
    clock = faults.clock = VirtualClock()
    config = ClusterConfig("test", components=("api", "controllers", "scheduler"), nodes=2)
    plane = FaultyCluster(config, secrets=Secrets(), store=MemoryStore(), clock=clock, hosts=("127.0.0.1",))
    plane.faults = faults
    async with plane.running(), running_together(*simulated_nodes(plane, range(1, 3))):
        world = World(Client(plane.transport_for(ADMIN), plane.index), clock, plane)
        await world.client.create("namespaces", {"metadata": {"name": NAMESPACE}})
        await world.until(lambda: world.find("serviceaccounts", "default"), within=600)
        yield world


def job(name: str, **spec: Any) -> Object:
    ends = {"timonel.dev/simulate": '{"runFor": "2s", "exitCode": 0}'}
    pod = {**template(restartPolicy="Never"), "metadata": {"annotations": ends}}
    return {"metadata": {"name": name}, "spec": {"template": pod, **spec}}


def named(kind: Object, name: str, label: str) -> Object:
    """A workload with pods of its own."""
    labels = {"app": label}
    spec = {**kind["spec"], "selector": {"matchLabels": labels}}
    spec["template"] = {**spec["template"], "metadata": {"labels": labels}}
    return {"metadata": {"name": name}, "spec": spec}


async def live(world: World) -> None:
    """What users do meanwhile."""
    await world.create("deployments.apps", workload(replicas=3))
    await world.until(lambda: world.names("replicasets.apps"), within=600)  # or there would be one set only
    await world.create("statefulsets.apps", named(workload(replicas=3, serviceName="db"), "db", "db"))
    await world.create("daemonsets.apps", named(workload(), "agent", "agent"))
    await world.create("jobs.batch", job("once", completions=3, parallelism=2))
    await world.create("services", {"metadata": {"name": "web"},
                                    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})  # fmt: skip
    await world.create(
        "poddisruptionbudgets.policy",
        {
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        },
    )
    await world.create("deployments.apps", named(workload(replicas=2), "doomed", "doomed"))
    await world.pass_by(7)
    await world.patch("deployments.apps", "web", {"spec": {"replicas": 5, "template": template("web:2")}})
    await world.pass_by(5)
    await world.delete("deployments.apps", "doomed")
    await world.patch("statefulsets.apps", "db", {"spec": {"replicas": 2}})
    for pod in (await world.all("pods"))[:2]:
        await world.delete("pods", pod["metadata"]["name"])
    await world.pass_by(5)


async def picture(world: World) -> dict[str, Any]:
    """All that does not depend on the order in which things happened."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        for obj in await world.all(kind):
            status = obj.get("status") or {}
            counts = {name: status[name] for name in COUNTS if status.get(name)}
            true = sorted(c["type"] for c in status.get("conditions") or () if c["status"] == "True")
            found[f"{kind} {obj['metadata']['name']}"] = (counts, true)
    owners: dict[str, int] = {}
    for pod in await world.all("pods"):
        owner = controller_of(pod)
        name = owner["kind"] if owner is not None else ""
        image = pod["spec"]["containers"][0]["image"]
        state = "ready" if pods.is_ready(pod) else pods.phase_of(pod)
        text = f"pods of {name}, {image}, {state}"
        owners[text] = owners.get(text, 0) + 1
    ends = [e for s in await world.all("endpointslices.discovery.k8s.io") for e in s.get("endpoints") or ()]
    found["ready endpoints"] = sum(bool(e["conditions"]["ready"]) for e in ends)
    found["sets"] = sorted(
        (rs["spec"]["replicas"], (rs.get("status") or {}).get("readyReplicas", 0))
        for rs in await world.all("replicasets.apps")
    )
    found["finalizers"] = [
        p["metadata"]["finalizers"] for p in await world.all("pods") if p["metadata"].get("finalizers")
    ]
    return {**found, **owners}


async def end_of(faults: Faults) -> dict[str, Any]:
    rate, lag = faults.rate, faults.lag
    faults.rate = faults.lag = 0.0
    async with cluster(faults) as world:
        faults.rate, faults.lag = rate, lag
        await live(world)
        if rate:
            await world.pass_by(30)
            faults.away = True
            await world.patch("deployments.apps", "web", {"spec": {"replicas": 4}})
            await world.pass_by(60)
            faults.away = False
            await world.pass_by(30)
        else:
            await world.patch("deployments.apps", "web", {"spec": {"replicas": 4}})
        faults.rate = faults.lag = 0.0
        await world.pass_by(300)
        return await picture(world)


@pytest.mark.parametrize("seed", range(1, 7))
async def test_the_end_is_the_same_whatever_went_wrong(seed: int) -> None:
    good = await end_of(Faults())
    faults = Faults(rate=0.2, seed=seed, lag=1.0)
    bad = await end_of(faults)

    assert faults.count > 50
    assert good["deployments.apps web"][0]["availableReplicas"] == 4
    assert "Complete" in good["jobs.batch once"][1]
    assert bad == good

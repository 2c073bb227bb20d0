"""metrics.k8s.io in a whole cluster: its API, and the autoscaler that lives by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.cluster.harness import NAMESPACE, World, cluster, template
from timonel.distro import addons
from timonel.distro.cluster import METRICS
from timonel.distro.config import ClusterConfig
from timonel.machinery.errors import MethodNotAllowed, NotFound, StatusError
from timonel.objects.meta import Key, Object

ROOT = "/apis/metrics.k8s.io/v1beta1"
PODS = f"{ROOT}/namespaces/{NAMESPACE}/pods"


def deployment(cpu: str, replicas: int = 2) -> Object:
    pod = template()
    pod["metadata"]["annotations"] = {
        "timonel.dev/simulate": f'{{"usage": {{"cpu": "{cpu}", "memory": "64Mi"}}}}'
    }
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    labels = pod["metadata"]["labels"]
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod},
    }


@asynccontextmanager
async def measured() -> AsyncIterator[World]:
    """A cluster of two nodes in which metrics.k8s.io is available."""
    async with cluster(nodes=2) as world:
        config = ClusterConfig("test", components=("api", "controllers", "scheduler"))
        for resource, obj in addons.objects(config):
            await world.client.create(resource, obj)

        async def available() -> bool:
            found = await world.client.get("apiservices.apiregistration.k8s.io", Key("", METRICS))
            conditions = (found.get("status") or {}).get("conditions") or ()
            return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

        await world.until(available)
        yield world


async def get(world: World, path: str, **query: str) -> Any:
    return await world.client.transport.raw("GET", path, query=query)


async def test_pods_and_nodes_tell_what_they_use() -> None:
    async with measured() as world:
        await world.create("deployments.apps", deployment("30m"))
        await world.until(lambda: world.ready_pods())
        await world.pass_by(5)
        found = await get(world, PODS)
        one = await get(world, f"{PODS}/{found['items'][0]['metadata']['name']}")
        nodes = await get(world, f"{ROOT}/nodes")

    assert [p["containers"] for p in found["items"]] == [
        [{"name": "web", "usage": {"cpu": "30000000n", "memory": "65536Ki"}}]
    ] * 2
    assert found["kind"] == "PodMetricsList"
    assert one["kind"] == "PodMetrics"
    assert sum(int(n["usage"]["cpu"].removesuffix("n")) for n in nodes["items"]) == 60_000_000
    assert {n["metadata"]["name"] for n in nodes["items"]} == {"test-1", "test-2"}


async def test_selectors_choose_and_bad_ones_are_refused() -> None:
    async with measured() as world:
        await world.create("deployments.apps", deployment("30m"))
        await world.until(lambda: world.ready_pods())
        await world.pass_by(5)
        chosen = await get(world, PODS, labelSelector="app in (web)")
        nobody = await get(world, PODS, labelSelector="app=other")
        name = chosen["items"][0]["metadata"]["name"]
        named = await get(world, PODS, fieldSelector=f"metadata.name={name}")

        assert (len(chosen["items"]), len(nobody["items"]), len(named["items"])) == (2, 0, 1)
        with pytest.raises(StatusError) as refused:
            await get(world, PODS, labelSelector="app in web")
        assert refused.value.status_code == 400
        with pytest.raises(NotFound, match=r'podmetrics\.metrics\.k8s\.io "shop/none" not found'):
            await get(world, f"{PODS}/none")
        with pytest.raises(NotFound, match=r'nodemetrics\.metrics\.k8s\.io "none" not found'):
            await get(world, f"{ROOT}/nodes/none")
        with pytest.raises(NotFound):
            await get(world, f"{ROOT}/cabbages")
        with pytest.raises(MethodNotAllowed):
            await world.client.transport.raw("POST", PODS, body={"kind": "PodMetrics"})


async def test_the_autoscaler_follows_what_pods_use() -> None:
    async with measured() as world:
        await world.create("deployments.apps", deployment("90m", replicas=1))
        await world.create("horizontalpodautoscalers.autoscaling", autoscaler(target=50, most=4))
        await world.pass_by(300)
        busy = await world.find("horizontalpodautoscalers.autoscaling", "web")
        await world.patch(
            "deployments.apps", "web", {"spec": {"template": deployment("1m")["spec"]["template"]}}
        )
        await world.pass_by(1200)
        idle = await world.find("horizontalpodautoscalers.autoscaling", "web")

    assert busy is not None
    assert idle is not None
    assert (busy["status"]["currentReplicas"], idle["status"]["currentReplicas"]) == (4, 1)
    assert busy["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 90


def autoscaler(*, target: int, most: int) -> Object:
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": resource}],
        },
    }


async def test_a_service_that_a_user_makes_is_asked_instead() -> None:
    async with measured() as world:
        service = {"metadata": {"name": "metrics-server"}, "spec": {"ports": [{"port": 443}]}}
        await world.client.create("services", service, namespace="kube-system")

        async def reason() -> str:
            found = await world.client.get("apiservices.apiregistration.k8s.io", Key("", METRICS))
            return str(found["status"]["conditions"][0]["reason"])

        async def is_asked() -> bool:
            return await reason() == "EndpointsNotFound"

        await world.until(is_asked)
        with pytest.raises(StatusError) as refused:
            await get(world, PODS)

    assert refused.value.status_code == 503

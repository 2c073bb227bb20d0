"""Workloads, from the object that a user creates to the pods that run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.cluster.harness import World, cluster, template, workload
from timonel.objects.meta import Object, annotations_of, controller_of


def images(pods: Sequence[Object]) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


async def test_a_deployment_comes_up_and_rolls() -> None:
    async with cluster(nodes=2) as world:
        await world.create("deployments.apps", workload(replicas=3))
        await world.until(lambda: is_available(world, 3))
        assert {pod["spec"]["nodeName"] for pod in await world.ready_pods()} == set(
            await world.names("nodes", "")
        )

        await world.patch("deployments.apps", "web", {"spec": {"template": template("web:2")}})
        fewest = 3

        async def is_rolled() -> bool:
            nonlocal fewest
            fewest = min(fewest, len(await world.ready_pods()))
            return await is_available(world, 3) and images(await world.all("pods")) == {"web:2"}

        await world.until(is_rolled)

        assert fewest >= 3
        sizes = [rs["spec"]["replicas"] for rs in await world.all("replicasets.apps")]
        assert sorted(sizes) == [0, 3]
        assert (
            annotations_of(await must(world, "deployments.apps", "web"))["deployment.kubernetes.io/revision"]
            == "2"
        )


async def is_available(world: World, count: int) -> bool:
    deployment = await must(world, "deployments.apps", "web")
    status = deployment.get("status") or {}
    followed = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return bool(followed and status.get("availableReplicas") == status.get("updatedReplicas") == count)


async def must(world: World, resource: str, name: str) -> Object:
    found = await world.find(resource, name)
    assert found is not None
    return found


async def test_a_job_completes_after_a_failure() -> None:
    async with cluster() as world:
        once = {"timonel.dev/simulate": '{"runFor": "2s", "exitCode": 1}'}
        pod = {**template(restartPolicy="Never"), "metadata": {"annotations": once}}
        await world.create(
            "jobs.batch",
            {"metadata": {"name": "count"}, "spec": {"backoffLimit": 1, "template": pod}},
        )
        good = {
            "metadata": {"name": "sum"},
            "spec": {"completions": 3, "template": template(restartPolicy="Never")},
        }
        await world.create("jobs.batch", good)

        failed = await world.until(lambda: ended(world, "count", "Failed"))
        complete = await world.until(lambda: ended(world, "sum", "Complete"))

        assert (failed["failed"], failed["conditions"][-1]["reason"]) == (2, "BackoffLimitExceeded")
        assert complete["succeeded"] == 3


async def ended(world: World, name: str, how: str) -> dict[str, Any]:
    status = await world.status("jobs.batch", name)
    found = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    return status if how in found else {}


async def test_a_statefulset_starts_its_pods_in_order_and_stops_them_in_reverse() -> None:
    async with cluster() as world:
        slow = template()
        slow["metadata"]["annotations"] = {"timonel.dev/simulate": '{"startDelay": "2s"}'}
        await world.create("statefulsets.apps", workload(replicas=3, serviceName="web", template=slow))
        seen: list[list[str]] = []

        async def all_ready() -> bool:
            names = await world.names("pods")
            if not seen or seen[-1] != names:
                seen.append(names)
            return len(await world.ready_pods()) == 3

        await world.until(all_ready)
        await world.patch("statefulsets.apps", "web", {"spec": {"replicas": 1}})
        await world.until(lambda: are_named(world, ["web-0", "web-1"]))
        await world.until(lambda: are_named(world, ["web-0"]))

        assert [names for names in seen if names] == [
            ["web-0"],
            ["web-0", "web-1"],
            ["web-0", "web-1", "web-2"],
        ]


async def are_named(world: World, names: list[str]) -> bool:
    return await world.names("pods") == names


async def test_a_cronjob_fires_when_its_minute_comes() -> None:
    async with cluster() as world:
        job = {"template": template(restartPolicy="Never")}
        await world.create(
            "cronjobs.batch",
            {"metadata": {"name": "tick"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}},
        )
        await world.pass_by(60)
        assert len(await world.names("jobs.batch")) == 1

        await world.pass_by(120)

        assert len(await world.names("jobs.batch")) == 3
        await world.until(lambda: have_succeeded(world, 3))


async def have_succeeded(world: World, count: int) -> bool:
    jobs = await world.all("jobs.batch")
    return [job.get("status", {}).get("succeeded", 0) for job in jobs] == [1] * count


async def test_sets_made_anew_find_their_pods_as_they_left_them() -> None:
    async with cluster(nodes=2) as world:
        made = {"statefulsets.apps": workload(replicas=2, serviceName="web"), "daemonsets.apps": workload()}
        made["daemonsets.apps"]["metadata"] = {"name": "log"}
        for name, part in (("web", "statefulsets.apps"), ("log", "daemonsets.apps")):
            labels = {"app": name}
            made[part]["spec"]["selector"] = {"matchLabels": labels}
            made[part]["spec"]["template"]["metadata"] = {"labels": labels}
            await world.create(part, made[part])
        await world.until(lambda: are_ready(world, 4))
        before = {pod["metadata"]["uid"] for pod in await world.all("pods")}

        for resource, obj in made.items():
            await world.delete(resource, obj["metadata"]["name"], propagation="Orphan")
            await world.until(lambda r=resource, o=obj: is_gone(world, r, o["metadata"]["name"]))  # type: ignore[misc]
            await world.create(resource, obj)
        await world.until(lambda: are_owned(world, "controllerrevisions.apps", 2))
        await world.pass_by(30)

        assert {pod["metadata"]["uid"] for pod in await world.all("pods")} == before
        assert await are_owned(world, "pods", 4)


async def are_ready(world: World, count: int) -> bool:
    return len(await world.ready_pods()) == count


async def is_gone(world: World, resource: str, name: str) -> bool:
    return await world.find(resource, name) is None


async def are_owned(world: World, resource: str, count: int) -> bool:
    found = await world.all(resource)
    return len(found) == count and all(controller_of(obj) is not None for obj in found)


async def test_a_suspended_job_loses_its_pods_and_nothing_else() -> None:
    async with cluster() as world:
        pod = {**template(restartPolicy="Never")}
        pod["metadata"] = {"annotations": {"timonel.dev/simulate": '{"runFor": "60s"}'}}
        spec = {"parallelism": 2, "completions": 2, "backoffLimit": 0, "template": pod}
        await world.create("jobs.batch", {"metadata": {"name": "sum"}, "spec": spec})
        await world.until(lambda: are_ready(world, 2))

        await world.patch("jobs.batch", "sum", {"spec": {"suspend": True}})
        await world.until(lambda: are_named(world, []))
        status = await world.status("jobs.batch", "sum")
        assert "failed" not in status
        assert "startTime" not in status

        await world.patch("jobs.batch", "sum", {"spec": {"suspend": False}})
        complete = await world.until(lambda: ended(world, "sum", "Complete"))
        assert complete["succeeded"] == 2

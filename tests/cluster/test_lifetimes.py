"""A cluster is an object: it shares nothing with others in the process, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading

from tests.cluster.harness import cluster, workload


async def test_two_clusters_do_not_know_of_each_other() -> None:
    async with cluster(name="one") as one, cluster(name="two") as two:
        await one.create("deployments.apps", workload())
        await two.create("configmaps", {"metadata": {"name": "settings"}})
        await one.pass_by(30)

        assert len(await one.ready_pods()) == 1
        assert await two.names("pods") == []
        assert await one.names("configmaps") == ["kube-root-ca.crt"]
        assert two.clock.now() < one.clock.now()


async def test_stopping_leaves_no_task_and_no_thread_behind() -> None:
    tasks, threads = asyncio.all_tasks(), threading.enumerate()

    async with cluster(nodes=2) as world:
        await world.create("deployments.apps", workload(replicas=2))
        await world.pass_by(30)
        assert len(await world.ready_pods()) == 2
        assert len(asyncio.all_tasks()) > len(tasks)

    assert asyncio.all_tasks() == tasks
    assert threading.enumerate() == threads


async def test_the_same_happens_every_time() -> None:
    async def history() -> list[tuple[str, str]]:
        async with cluster() as world:
            await world.create("deployments.apps", workload(replicas=3))
            await world.pass_by(30)
            return sorted((e["reason"], e["firstTimestamp"]) for e in await world.all("events"))

    first = await history()

    assert len(first) > 10
    assert await history() == first

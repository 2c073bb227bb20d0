"""A cluster whose time is turned: what is due on the way happens, in its order and at its time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cluster.harness import World, cluster, template, workload
from timonel.client.clock import PATH, ClusterClock, Stopped
from timonel.machinery.errors import BadRequest, Conflict, NotFound
from timonel.objects.meta import Object, format_time, parse_time

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def cronjob(schedule: str, **spec: Any) -> Object:
    job = {"spec": {"template": template(restartPolicy="Never")}}
    return {"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "jobTemplate": job, **spec}}


async def starts(world: World) -> list[str]:
    """When the runs that are kept were due."""
    jobs = await world.all("jobs.batch")
    due = (int(job["metadata"]["name"].rpartition("-")[2]) * MINUTE for job in jobs)
    return [format_time(at)[11:16] for at in sorted(due)]


async def test_a_cronjob_runs_for_every_minute_that_passed() -> None:
    async with cluster() as world:
        begun = world.clock.now()
        await world.create("cronjobs.batch", cronjob("* * * * *", successfulJobsHistoryLimit=1000))
        await world.pass_by(HOUR)

        found = await starts(world)
        minutes = [at for at in range(int(begun) + 1, int(world.clock.now()) + 1) if at % 60 == 0]
        assert found == [format_time(at)[11:16] for at in minutes]


async def test_a_month_keeps_what_its_history_says_and_everybody_alive() -> None:
    async with cluster() as world:
        await world.create("cronjobs.batch", cronjob("0 3 * * *"))
        await world.create("deployments.apps", workload(replicas=1))
        await world.pass_by(1)
        before = [pod["metadata"]["uid"] for pod in await world.ready_pods()]
        assert before

        await world.pass_by(30 * DAY)

        assert await starts(world) == ["03:00"] * 3
        assert [pod["metadata"]["uid"] for pod in await world.ready_pods()] == before
        (node,) = await world.all("nodes", "")
        assert not node["spec"].get("taints")
        last = parse_time((await world.status("cronjobs.batch", "tick"))["lastScheduleTime"])
        assert last is not None
        assert world.clock.now() - last <= DAY


async def test_the_same_way_gives_the_same_events() -> None:
    async def way() -> list[tuple[str, str, str]]:
        async with cluster() as world:
            await world.create("cronjobs.batch", cronjob("*/20 * * * *"))
            await world.pass_by(2 * HOUR)
            return [
                (e["reason"], e["involvedObject"]["kind"], e["firstTimestamp"] or "")
                for e in sorted(
                    await world.all("events"), key=lambda e: int(e["metadata"]["resourceVersion"])
                )
                if e["involvedObject"]["kind"] in ("CronJob", "Job")
            ]

    assert await way() == await way()


async def test_deadlines_are_kept() -> None:
    async with cluster() as world:
        spec = template(restartPolicy="Never")
        spec["metadata"]["annotations"] = {"timonel.dev/simulate": '{"runFor": "48h"}'}
        limits = {"activeDeadlineSeconds": 3 * 3600, "ttlSecondsAfterFinished": 7200}
        await world.create("jobs.batch", {"metadata": {"name": "long"}, "spec": {"template": spec, **limits}})
        await world.pass_by(4 * HOUR)
        (failed,) = [
            c for c in (await world.status("jobs.batch", "long"))["conditions"] if c["type"] == "Failed"
        ]
        assert failed["reason"] == "DeadlineExceeded"

        await world.pass_by(2 * HOUR)

        assert await world.find("jobs.batch", "long") is None


async def ask(world: World, method: str, what: str, **query: str) -> Any:
    return await world.client.transport.raw(method, PATH + what, query=query or None)


async def test_time_is_turned_through_the_api() -> None:
    async with cluster() as world:
        begun = world.clock.now()
        assert (await ask(world, "GET", "now"))["kind"] == "virtual"

        found = await ask(world, "POST", "advance", seconds="86400")

        assert not found["moving"]
        assert world.clock.now() == begun + DAY
        await ask(world, "POST", "set", time=format_time(begun + 2 * DAY))
        assert int(world.clock.now()) == int(begun + 2 * DAY)


@pytest.mark.parametrize(
    ("what", "query", "why"),
    [
        ("advance", {}, "not a number of seconds"),
        ("advance", {"seconds": "soon"}, "not a number of seconds"),
        ("advance", {"seconds": "-1"}, "must be between"),
        ("advance", {"seconds": "nan"}, "must be between"),
        ("advance", {"seconds": "1e300"}, "must be between"),
        ("set", {}, "time is missing"),
        ("set", {"time": "noon"}, "not a time"),
        ("set", {"time": "2001-01-01T00:00:00Z"}, "time does not go back"),
        ("set", {"time": "9999-01-01T00:00:00Z"}, "too far ahead"),
        ("advance", {"seconds": "1", "within": "soon"}, "not a number of seconds"),
        ("advance", {"seconds": "1", "within": "21"}, "within must be between"),
    ],
)
async def test_what_is_no_way_for_time_to_go_is_said(what: str, query: dict[str, str], why: str) -> None:
    async with cluster() as world:
        before = world.clock.now()

        with pytest.raises(BadRequest, match=why):
            await ask(world, "POST", what, **query)

        assert world.clock.now() == before


async def test_only_one_turns_it_and_others_may_stop_it_on_its_way() -> None:
    async with cluster() as world:
        begun, there = world.clock.now(), ClusterClock(world.client.transport)
        await world.create("cronjobs.batch", cronjob("0 * * * *"))

        reached = asyncio.Event()
        world.clock.call_later(DAY, reached.set)

        async def turn() -> None:
            with pytest.raises(Stopped):
                await there.advance("10d")

        async with asyncio.TaskGroup() as group:
            group.create_task(turn())
            await reached.wait()
            with pytest.raises(Conflict, match="is being turned already"):
                await there.advance("1h")
            stopped = await there.stop()

        assert begun + DAY <= stopped.now < begun + 2 * DAY
        assert not stopped.moving
        assert (await there.read()).now == stopped.now
        after = await there.advance("1d")
        assert after.now == pytest.approx(stopped.now + DAY, abs=1e-5)


async def test_who_turns_it_from_within_is_not_disturbed_through_the_api() -> None:
    async with cluster() as world:
        there = ClusterClock(world.client.transport)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.pass_by(DAY))
            await asyncio.sleep(0)
            with pytest.raises(Conflict):
                await there.advance("1h")


async def test_what_is_not_asked_of_a_clock_is_not_found() -> None:
    async with cluster() as world:
        with pytest.raises(NotFound):
            await ask(world, "POST", "rewind")

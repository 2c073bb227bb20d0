"""Which pods of a Job count, for what, and when they are let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.test_job import JOBS, KEY, job, run, status_of, verdicts
from tests.controllers.world import World, finish, kubelet, merged, pod, scheduler, workload
from timonel.controllers.job import JOBS as CONTROLLERS
from timonel.controllers.job import indexes, policy, strays
from timonel.controllers.job.tally import FINALIZER, finished_at
from timonel.objects import pods
from timonel.objects.meta import Key, Object, annotations_of, controller_ref, format_time

MANY = 2_000.0  # seconds, longer than any back-off


def ending(phase: str, *index: int) -> Callable[[World], bool]:
    return finish(phase, lambda p: indexes.index_of(p) in index)


def indexed(**spec: Any) -> Object:
    return job(completionMode="Indexed", **spec)


def tracked(world: World) -> list[Object]:
    return [p for p in world.list("pods") if FINALIZER in (p["metadata"].get("finalizers") or ())]


def test_who_is_stopped_by_a_suspension_has_not_failed() -> None:
    world = World((JOBS, job(parallelism=2, completions=4, backoffLimit=0)))
    run(world)
    world.change(JOBS, "web", spec={"suspend": True})
    run(world)

    assert "failed" not in status_of(world)
    assert verdicts(world) == [("Suspended", "JobSuspended")]
    assert "startTime" not in status_of(world)
    assert tracked(world) == []


def test_who_is_one_too_many_has_not_failed() -> None:
    world = World((JOBS, job(parallelism=3, completions=4, backoffLimit=0)))
    run(world)
    world.change(JOBS, "web", spec={"parallelism": 1})
    run(world)

    assert (status_of(world)["active"], status_of(world).get("failed")) == (1, None)


def test_with_the_job_every_pod_fails() -> None:
    world = World((JOBS, indexed(parallelism=3, completions=3, backoffLimit=0)))
    run(world)
    run(world, ending("Failed", 1))

    assert verdicts(world)[-1] == ("Failed", "BackoffLimitExceeded")
    assert status_of(world)["failed"] == 3
    assert tracked(world) == []


def test_what_a_success_leaves_over_is_not_counted() -> None:
    policy_ = {"rules": [{"succeededIndexes": "1"}]}
    world = World((JOBS, indexed(parallelism=3, completions=3, successPolicy=policy_)))
    run(world)
    run(world, ending("Succeeded", 1))

    status = status_of(world)
    assert verdicts(world)[-1] == ("Complete", "SuccessPolicy")
    assert (status["succeeded"], status.get("failed"), status["terminating"]) == (1, None, 0)
    assert tracked(world) == []


def test_failed_indexes_are_heeded_before_the_success_policy() -> None:
    policy_ = {"rules": [{"succeededIndexes": "1"}]}
    spec = {"successPolicy": policy_, "backoffLimitPerIndex": 0, "backoffLimit": 2**31 - 1}
    world = World((JOBS, indexed(parallelism=2, completions=2, **spec)))
    run(world)
    ending("Failed", 0)(world)
    ending("Succeeded", 1)(world)
    run(world)

    assert verdicts(world)[-1] == ("Failed", "FailedIndexes")


def test_an_adopted_pod_is_tracked_from_then_on() -> None:
    labels = {"app": "web"}
    world = World((JOBS, job()), ("pods", pod("orphan", labels=labels)))
    run(world, finish("Succeeded"))

    assert status_of(world)["succeeded"] == 1
    assert [p["metadata"]["name"] for p in world.list("pods")] == ["orphan"]
    assert tracked(world) == []


def test_more_successes_than_asked_for_are_remarked_upon() -> None:
    world = World((JOBS, job(parallelism=3, completions=3)))
    run(world)
    finish("Succeeded")(world)
    world.change(JOBS, "web", spec={"completions": 2})
    run(world)

    message = "Too many succeeded pods running after completion count reached"
    assert ("Warning", "TooManySucceededPods", message) in world.events
    assert verdicts(world)[-1][0] == "Complete"


def test_a_suspended_job_of_nothing_is_complete() -> None:
    world = World((JOBS, job(completions=0, suspend=True)))
    run(world)

    assert verdicts(world)[-1][0] == "Complete"


@pytest.mark.parametrize(
    ("owner", "there", "stray"),
    [
        (None, None, True),
        ({"uid": "uid-web"}, None, True),
        ({"uid": "uid-before"}, {}, True),
        ({"uid": "uid-web"}, {}, False),
        ({"uid": "uid-web"}, {"done": True}, True),
        ({"uid": "uid-web"}, {"done": True, "managedBy": "example.com/other"}, False),
        ({"uid": "uid-web", "kind": "Sprint"}, None, False),
    ],
    ids=["nobody's", "gone", "a namesake's", "at work", "ended", "another's", "of another kind"],
)
def test_a_pod_that_no_job_counts_is_let_go(owner: Object | None, there: Object | None, stray: bool) -> None:
    world = World()
    if there is not None:
        spec = {"managedBy": there["managedBy"]} if "managedBy" in there else {}
        ended = {"conditions": [{"type": "Complete", "status": "True"}]} if "done" in there else {}
        world.add(JOBS, {**job(suspend=True, **spec), "status": ended})
    lone = pod("lone", labels={}, finalizers=[FINALIZER])
    if owner is not None:
        ref = {**controller_ref(workload("Job", api="batch/v1")), **owner}
        lone["metadata"]["ownerReferences"] = [ref]
    world.add("pods", lone)
    found = world.get("pods", Key("shop", "lone"))
    assert found is not None

    assert list(strays.STRAYS.watches[0].wakes(found, world)) == ([Key("shop", "lone")] if stray else [])
    world.settle(strays.STRAYS)
    assert bool(tracked(world)) is not stray


@pytest.mark.parametrize(
    ("labels", "meta", "stray"),
    [
        ({"app": "web"}, {}, False),
        ({"app": "other"}, {}, True),
        ({"app": "web"}, {"deletionTimestamp": format_time(0)}, True),
    ],
    ids=["to be adopted", "not wanted", "on its way out"],
)
def test_a_pod_that_a_job_would_adopt_is_no_stray(labels: dict[str, str], meta: Object, stray: bool) -> None:
    world = World((JOBS, job(suspend=True)))
    lone = world.add("pods", pod("lone", labels=labels, finalizers=[FINALIZER], **meta))

    assert strays.observe(lone, world) is stray
    gone = world.get(JOBS, KEY)
    assert gone is not None
    world.remove(JOBS, KEY)
    assert strays.observe(lone, world)
    woken = list(strays.STRAYS.watches[1].wakes(gone, world))
    assert woken == ([Key("shop", "lone")] if labels == {"app": "web"} else [])


def test_a_job_that_goes_wakes_its_pods() -> None:
    world = World((JOBS, job(parallelism=2, completions=2)))
    run(world)
    gone = world.get(JOBS, KEY)
    assert gone is not None
    wakes = strays.STRAYS.watches[1].wakes
    assert list(wakes(gone, world)) == []

    world.remove(JOBS, KEY)
    assert len(list(wakes(gone, world))) == 2


def test_the_last_failed_pod_of_an_index_stays_until_another_takes_its_place() -> None:
    world = World((JOBS, indexed(backoffLimitPerIndex=3, backoffLimit=2**31 - 1)))
    run(world)
    run(world, ending("Failed", 0))
    (first,) = world.list("pods")
    assert tracked(world) == [first]
    assert "failed" not in status_of(world)
    world.remove("pods", Key("shop", first["metadata"]["name"]))
    assert len(world.list("pods")) == 1

    world.time += MANY
    run(world)

    (second,) = world.list("pods")
    assert annotations_of(second)[indexes.FAILURES] == "1"
    assert status_of(world)["failed"] == 1


def test_ignored_failures_are_counted_apart_and_do_not_end_an_index() -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [9]}},
    ]
    world = World(
        (
            JOBS,
            indexed(backoffLimitPerIndex=0, backoffLimit=2**31 - 1, podFailurePolicy={"rules": rules}),
        )
    )
    run(world)
    for _ in range(2):
        for running in world.list("pods"):
            if running["status"]["phase"] == "Running":
                disrupted = [{"type": "DisruptionTarget", "status": "True"}]
                world.put("pods", merged(running, {"status": {"phase": "Failed", "conditions": disrupted}}))
        world.time += MANY
        run(world)

    newest = next(p for p in world.list("pods") if pods.is_active(p))
    assert annotations_of(newest) == {
        indexes.INDEX: "0",
        indexes.FAILURES: "0",
        indexes.IGNORED_FAILURES: "2",
    }
    assert status_of(world)["failedIndexes"] == ""


def test_an_index_in_its_back_off_lets_nobody_past() -> None:
    world = World(
        (JOBS, indexed(completions=2, parallelism=1, backoffLimitPerIndex=1, backoffLimit=2**31 - 1))
    )
    run(world)
    run(world, ending("Failed", 0))

    assert [indexes.index_of(p) for p in world.list("pods")] == [0]
    world.time += MANY
    run(world)
    assert [indexes.index_of(p) for p in world.list("pods")] == [0, 0]


def test_a_failure_is_waited_out_even_when_its_pod_is_gone() -> None:
    world = World((JOBS, job()))
    run(world)
    (first,) = world.list("pods")
    world.remove("pods", Key("shop", first["metadata"]["name"]))
    run(world)
    assert [p for p in world.list("pods") if pods.is_active(p)] == []
    assert status_of(world)["failed"] == 1

    world.time += 10
    run(world)
    assert len([p for p in world.list("pods") if pods.is_active(p)]) == 1


@pytest.mark.parametrize(
    ("replacement", "alive", "failed"), [("TerminatingOrFailed", 1, 1), ("Failed", 0, None)]
)
def test_when_a_pod_on_its_way_out_is_replaced(replacement: str, alive: int, failed: int | None) -> None:
    world = World((JOBS, job(podReplacementPolicy=replacement)))
    run(world)
    (first,) = world.list("pods")
    world.remove("pods", Key("shop", first["metadata"]["name"]))
    world.time += 20  # longer than the back-off, shorter than the grace period
    world.settle(*CONTROLLERS)

    assert len([p for p in world.list("pods") if pods.is_active(p)]) == alive
    status = status_of(world)
    assert (status["terminating"], status.get("failed")) == (1, failed)

    world.settle(*CONTROLLERS, actors=[kubelet])
    world.time += MANY
    run(world)
    assert len([p for p in world.list("pods") if pods.is_active(p)]) == 1
    assert status_of(world)["failed"] == 1


def test_a_job_of_another_controller_is_left_alone() -> None:
    world = World((JOBS, job(managedBy="example.com/other")), ("pods", pod("orphan")))
    world.settle(*CONTROLLERS)

    assert "status" not in (world.get(JOBS, KEY) or {})
    assert world.applied == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0-99999999999999", set()),
        ("1-4000000000,7", {1, 2}),
        ("²", set()),
        ("a,1", {1}),
        ("2-1", set()),
        (None, set()),
        ("3", set()),
    ],
)
def test_what_somebody_wrote_as_indexes_is_taken_for_what_it_can_be(
    text: str | None, found: set[int]
) -> None:
    assert indexes.parse(text, 3) == found


@pytest.mark.parametrize(
    ("text", "count"), [("3", 3), ("-1", 0), ("x", 0), ("²", 0), ("2147483648", 0), ("9" * 5000, 0)]
)
def test_a_failure_count_that_is_none_is_zero(text: str, count: int) -> None:
    assert indexes.failures_of(pod("p", annotations={indexes.FAILURES: text})) == count


@pytest.mark.parametrize("length", [1, 55, 56, 63])
def test_the_index_stays_readable_in_long_names(length: int) -> None:
    name = indexes.name_prefix({"metadata": {"name": "j" * length}}, 12)

    assert name.endswith("-12-")
    assert len(name) <= 58
    assert name == "j" * min(length, 54) + "-12-"


def test_conditions_are_looked_through_in_the_order_of_the_pod() -> None:
    patterns = [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]
    one = job(podFailurePolicy={"rules": [{"action": "FailJob", "onPodConditions": patterns}]})
    failed = pod("p", phase="Failed")
    failed["status"]["conditions"] = [{"type": "B", "status": "True"}, {"type": "A", "status": "True"}]

    assert policy.match(one, failed).message == (
        "Pod shop/p has condition B matching FailJob rule at index 0"
    )


@pytest.mark.parametrize(
    ("status", "meta", "expected"),
    [
        ({"containerStatuses": [5, 7]}, {}, 7.0),
        ({"containerStatuses": [5, None], "ready": [9]}, {}, 9.0),
        ({"containerStatuses": [5, None]}, {"deletionTimestamp": 50, "deletionGracePeriodSeconds": 30}, 20.0),
        ({}, {"creationTimestamp": 3}, 3.0),
    ],
)
def test_when_a_pod_ended(status: Object, meta: Object, expected: float) -> None:
    containers = [
        {"name": "c", "state": {} if at is None else {"terminated": {"finishedAt": format_time(at)}}}
        for at in status.get("containerStatuses", ())
    ]
    conditions = [
        {"type": "Ready", "status": "False", "lastTransitionTime": format_time(at)}
        for at in status.get("ready", ())
    ]
    times = {k: format_time(v) if k.endswith("Timestamp") else v for k, v in meta.items()}
    ended = {
        "metadata": {"name": "p", **times},
        "status": {"containerStatuses": containers, "conditions": conditions},
    }

    assert finished_at(ended) == expected


@settings(deadline=None, max_examples=20)
@given(
    completions=st.integers(1, 4),
    parallelism=st.integers(1, 4),
    limit=st.integers(0, 2),
    most=st.none() | st.integers(0, 4),
    fates=st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_every_index_is_tried_as_often_as_it_may_and_counted_once(
    completions: int, parallelism: int, limit: int, most: int | None, fates: list[bool]
) -> None:
    spec: Object = {"backoffLimitPerIndex": limit, "backoffLimit": 2**31 - 1}
    if most is not None:
        spec["maxFailedIndexes"] = min(most, completions)
    world = World((JOBS, indexed(completions=completions, parallelism=parallelism, **spec)))
    ended: dict[str, tuple[int | None, str]] = {}

    def fate(w: World) -> bool:
        for running in w.list("pods"):
            if running["status"]["phase"] == "Running" and pods.is_active(running):
                phase = "Succeeded" if fates[len(ended) % len(fates)] else "Failed"
                ended[running["metadata"]["uid"]] = indexes.index_of(running), phase
                w.put("pods", merged(running, {"status": {"phase": phase, "conditions": []}}))
                return True
        return False

    for _ in range(completions * (limit + 1) + 1):
        world.settle(*CONTROLLERS, actors=[scheduler, kubelet, fate], rounds=120)
        world.time += MANY

    status, (final, reason) = status_of(world), verdicts(world)[-1]
    done = indexes.parse(status.get("completedIndexes"), completions)
    lost = indexes.parse(status["failedIndexes"], completions)
    tries = {i: [p for at, p in ended.values() if at == i] for i in range(completions)}
    assert not done & lost
    assert all(tries[i].count("Failed") == limit + 1 for i in lost)
    assert all("Succeeded" in tries[i] for i in done)
    assert status.get("succeeded", 0) == len(done)
    assert tracked(world) == []
    if final == "Complete":
        assert done == set(range(completions))
    elif reason == "FailedIndexes":
        assert done | lost == set(range(completions))
    else:
        assert reason == "MaxFailedIndexesExceeded"
        assert len(lost) > spec["maxFailedIndexes"]

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import START, World, finish, kubelet, merged, scheduler, template, workload
from timonel.controllers.job import JOBS as CONTROLLERS
from timonel.controllers.job import indexes
from timonel.controllers.job.podset import backoff_left
from timonel.objects import conditions
from timonel.objects.meta import Key, Object

JOBS = "jobs.batch"
KEY = Key("shop", "web")
ACTORS = [scheduler, kubelet]


def job(**spec: Any) -> Object:
    body = template(restartPolicy="Never")
    defaults: Object = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": body}
    return workload("Job", api="batch/v1", **{**defaults, **spec})


def status_of(world: World) -> Object:
    found = world.get(JOBS, KEY)
    assert found is not None
    status: Object = found["status"]
    return status


def verdicts(world: World) -> list[tuple[str, str]]:
    return [(c["type"], c.get("reason", "")) for c in status_of(world).get("conditions", [])]


def run(world: World, *actors: Any, rounds: int = 60) -> None:
    world.settle(*CONTROLLERS, actors=[*ACTORS, *actors], rounds=rounds)


def test_a_job_completes_and_counts_its_pod_once() -> None:
    world = World((JOBS, job()))
    run(world, finish("Succeeded"))

    status = status_of(world)
    assert verdicts(world) == [
        ("SuccessCriteriaMet", "CompletionsReached"),
        ("Complete", "CompletionsReached"),
    ]
    assert {k: v for k, v in status.items() if k not in ("conditions", "startTime", "completionTime")} == {
        "succeeded": 1,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }
    assert status["completionTime"] > status["startTime"]
    (pod,) = world.list("pods")
    assert pod["metadata"]["finalizers"] == []
    assert ("Normal", "Completed", "Job completed") in world.events


def test_failures_are_retried_with_back_off_up_to_the_limit() -> None:
    world = World((JOBS, job(backoffLimit=2)))
    for _ in range(4):
        run(world, finish("Failed"))
        world.time += 600

    assert status_of(world)["failed"] == 3
    assert verdicts(world) == [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]
    assert (
        "Warning",
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
    ) in world.events


@pytest.mark.parametrize(("failures", "wait"), [(0, 0), (1, 10), (2, 20), (4, 80), (7, 600), (50, 600)])
def test_the_back_off_doubles_up_to_ten_minutes(failures: int, wait: float) -> None:
    assert backoff_left(failures, START, START) == wait


def test_the_deadline_stops_the_pods() -> None:
    world = World((JOBS, job(activeDeadlineSeconds=30)))
    run(world)
    world.time += 60
    run(world)

    assert verdicts(world)[-1] == ("Failed", "DeadlineExceeded")
    assert all(p["status"]["phase"] != "Running" for p in world.list("pods"))


def test_suspending_stops_the_pods_and_resuming_starts_the_clock_anew() -> None:
    world = World((JOBS, job(parallelism=2, completions=4)))
    run(world)
    started = status_of(world)["startTime"]
    world.change(JOBS, "web", spec={"suspend": True})
    run(world)
    assert "active" not in status_of(world)
    assert verdicts(world) == [("Suspended", "JobSuspended")]

    world.time += 100
    world.change(JOBS, "web", spec={"suspend": False})
    world.time += 600
    run(world)

    assert status_of(world)["active"] == 2
    assert status_of(world)["startTime"] > started
    assert [r for _, r, _ in world.events if r in ("Suspended", "Resumed")] == ["Suspended", "Resumed"]


def test_each_index_succeeds_once() -> None:
    world = World((JOBS, job(completionMode="Indexed", completions=5, parallelism=2)))
    run(world, finish("Succeeded"))

    assert status_of(world)["completedIndexes"] == "0-4"
    assert status_of(world)["succeeded"] == 5
    made = {
        p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in world.list("pods")
    }
    assert made == set("01234")
    assert {p["spec"]["hostname"] for p in world.list("pods")} == {f"web-{i}" for i in range(5)}


def test_a_success_policy_ends_the_job_early() -> None:
    policy = {"rules": [{"succeededIndexes": "0,2", "succeededCount": 1}]}
    world = World((JOBS, job(completionMode="Indexed", completions=3, parallelism=3, successPolicy=policy)))
    leader = "batch.kubernetes.io/job-completion-index"
    run(world, finish("Succeeded", lambda p: bool(p["metadata"]["annotations"][leader] == "2")))

    assert verdicts(world) == [("SuccessCriteriaMet", "SuccessPolicy"), ("Complete", "SuccessPolicy")]
    assert status_of(world)["completedIndexes"] == "2"


def _exit(world: World, code: int) -> None:
    for pod in world.list("pods"):
        if pod["status"]["phase"] == "Running":
            state = {"terminated": {"exitCode": code}}
            ended = {
                "phase": "Failed",
                "conditions": [],
                "containerStatuses": [{"name": "web", "state": state}],
            }
            world.put("pods", merged(pod, {"status": ended}))


def test_a_failure_policy_may_end_the_job_or_forgive() -> None:
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
    ]
    world = World((JOBS, job(podFailurePolicy={"rules": rules})))
    run(world)
    _exit(world, 7)
    run(world)
    assert "failed" not in status_of(world)

    world.time += 600
    run(world)
    _exit(world, 42)
    run(world)

    found = conditions.find(status_of(world)["conditions"], "Failed")
    assert found is not None
    assert found["reason"] == "PodFailurePolicy"
    assert found["message"].endswith("failed with exit code 42 matching FailJob rule at index 0")


def test_pods_of_a_job_that_is_gone_are_let_go() -> None:
    world = World((JOBS, job()))
    run(world)
    world.remove(JOBS, KEY)
    world.settle(*CONTROLLERS)

    assert [p["metadata"]["finalizers"] for p in world.list("pods")] == [[]]


@pytest.mark.parametrize(
    ("some", "text"), [(set(), ""), ({3}, "3"), ({0, 1}, "0,1"), ({0, 1, 2, 5, 7, 8, 9}, "0-2,5,7-9")]
)
def test_indexes_are_written_in_runs(some: set[int], text: str) -> None:
    assert indexes.render(some) == text
    assert indexes.parse(text, 100) == some


@settings(deadline=None, max_examples=40)
@given(
    completions=st.integers(1, 4),
    parallelism=st.integers(1, 4),
    indexed=st.booleans(),
    fates=st.lists(st.booleans(), min_size=1, max_size=6),
    limit=st.integers(0, 6),
)
def test_every_job_ends_with_every_pod_counted_once(
    completions: int, parallelism: int, indexed: bool, fates: list[bool], limit: int
) -> None:
    mode = {"completionMode": "Indexed"} if indexed else {}
    world = World((JOBS, job(completions=completions, parallelism=parallelism, backoffLimit=limit, **mode)))
    ended: dict[str, str] = {}

    def fate(w: World) -> bool:
        for pod in w.list("pods"):
            if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp"):
                phase = "Succeeded" if fates[len(ended) % len(fates)] or len(ended) > 12 else "Failed"
                ended[pod["metadata"]["uid"]] = phase
                w.put("pods", merged(pod, {"status": {"phase": phase, "conditions": []}}))
                return True
        return False

    for _ in range(25):
        run(world, fate, rounds=80)
        world.time += 600

    status, final = status_of(world), verdicts(world)[-1]
    wins, losses = (list(ended.values()).count(p) for p in ("Succeeded", "Failed"))
    if final[0] == "Complete":
        assert status["succeeded"] == wins == completions
        assert status.get("failed", 0) == losses <= limit
    else:
        assert final == ("Failed", "BackoffLimitExceeded")
        assert status["failed"] > limit
    assert all(not p["metadata"]["finalizers"] for p in world.list("pods"))
    assert status["uncountedTerminatedPods"] == {}

from __future__ import annotations

import calendar
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controllers.world import World
from timonel.control.actions import Outcome, Plan
from timonel.controllers.cronjob import CRONJOB
from timonel.machinery import cron
from timonel.objects import conditions
from timonel.objects.meta import Key, Object, format_time

RESOURCE, JOBS = "cronjobs.batch", "jobs.batch"
KEY = Key("shop", "hello")
NOON = float(calendar.timegm((2026, 3, 1, 12, 0, 0)))


def cronjob(schedule: str = "*/5 * * * *", *, created: float = NOON, **spec: Any) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": "hello",
            "namespace": "shop",
            "uid": "uid-hello",
            "creationTimestamp": format_time(created),
        },
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"app": "hello"}}, "spec": {"template": {"spec": {}}}},
            **spec,
        },
    }


def world(obj: Object, now: float = NOON) -> World:
    made = World((RESOURCE, obj))
    made.time = now
    return made


def plan_of(w: World) -> Plan:
    desired = w.get(RESOURCE, KEY)
    assert desired is not None
    return CRONJOB.reconcile(desired, CRONJOB.observe(desired, w))


def names(w: World) -> list[str]:
    return sorted(j["metadata"]["name"] for j in w.list(JOBS))


def end(w: World, kind: str = "Complete") -> None:
    for job in list(w.list(JOBS)):
        condition = {"type": kind, "status": "True"}
        status = {"conditions": [condition], "completionTime": format_time(w.time)}
        if not job.get("status"):
            w.put(JOBS, {**job, "status": {**status, "startTime": format_time(w.time)}})


def reasons(w: World) -> list[str]:
    return [reason for _, reason, _ in w.events]


def test_before_its_time_nothing_happens_but_a_look_at_the_clock() -> None:
    assert plan_of(world(cronjob(), NOON + 60)) == Plan((), 240.1)


def test_a_due_time_starts_one_job_named_after_its_minute() -> None:
    w = world(cronjob(), NOON + 301)
    w.settle(CRONJOB)

    assert names(w) == [f"hello-{int(NOON + 300) // 60}"]
    (job,) = w.list(JOBS)
    assert job["metadata"]["labels"] == {"app": "hello"}
    stamp = job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    assert stamp == "2026-03-01T12:05:00Z"
    found = w.get(RESOURCE, KEY)
    assert found is not None
    assert found["status"]["lastScheduleTime"] == "2026-03-01T12:05:00Z"
    assert [ref["uid"] for ref in found["status"]["active"]] == [job["metadata"]["uid"]]


def test_a_job_whose_status_was_lost_is_remembered() -> None:
    w = world(cronjob(concurrencyPolicy="Forbid"), NOON + 301)
    w.settle(CRONJOB)
    found = w.get(RESOURCE, KEY)
    assert found is not None
    w.put(RESOURCE, {**found, "status": {}})
    w.settle(CRONJOB)

    after = w.get(RESOURCE, KEY)
    assert after is not None
    assert after["status"]["lastScheduleTime"] == "2026-03-01T12:05:00Z"
    assert len(after["status"]["active"]) == 1
    assert "UnexpectedJob" not in reasons(w)
    assert len(names(w)) == 1


def test_a_name_that_is_taken_is_passed_over() -> None:
    w = world(cronjob(), NOON + 301)
    taken = {"name": f"hello-{int(NOON + 300) // 60}", "namespace": "shop"}
    w.add(JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": taken, "spec": {}})
    w.sync(CRONJOB, KEY)
    found = w.get(RESOURCE, KEY)
    assert found is not None
    assert plan_of(w).requeue_after == pytest.approx(299.1)
    assert found.get("status", {}) == {}
    assert reasons(w) == []

    w.time = NOON + 601
    w.sync(CRONJOB, KEY)
    assert len(names(w)) == 2
    assert reasons(w) == ["SuccessfulCreate"]


def test_a_finished_job_leaves_the_active_list() -> None:
    w = world(cronjob(), NOON + 301)
    w.settle(CRONJOB)
    end(w)
    w.settle(CRONJOB)

    found = w.get(RESOURCE, KEY)
    assert found is not None
    assert "active" not in found["status"]
    assert found["status"]["lastSuccessfulTime"] == w.list(JOBS)[0]["status"]["completionTime"]
    assert "SawCompletedJob" in reasons(w)


@pytest.mark.parametrize(("policy", "expected"), [("Allow", 2), ("Forbid", 1), ("Replace", 1)])
def test_the_concurrency_policy_decides_on_a_running_predecessor(policy: str, expected: int) -> None:
    w = world(cronjob(concurrencyPolicy=policy), NOON + 301)
    w.settle(CRONJOB)
    first = names(w)
    w.time = NOON + 601
    w.sync(CRONJOB, KEY)
    w.sync(CRONJOB, KEY)

    assert len(names(w)) == expected
    assert (names(w) == first) == (policy == "Forbid")
    assert ("JobAlreadyActive" in reasons(w)) == (policy == "Forbid")


def test_only_the_latest_of_many_missed_times_is_made_up_for() -> None:
    w = world(cronjob(), NOON + 7 * 86400 + 61)
    w.settle(CRONJOB)

    assert names(w) == [f"hello-{int(NOON + 7 * 86400) // 60}"]
    assert "TooManyMissedTimes" in reasons(w)


def test_a_start_that_is_too_late_is_missed() -> None:
    w = world(cronjob("0 * * * *", created=NOON - 1800, startingDeadlineSeconds=30), NOON + 31)
    w.settle(CRONJOB)

    assert names(w) == []


def test_time_zones_shift_the_schedule() -> None:
    w = world(cronjob("0 21 * * *", timeZone="Asia/Tokyo", created=NOON - 60), NOON + 1)
    w.settle(CRONJOB)

    stamp = w.list(JOBS)[0]["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    assert stamp == "2026-03-01T21:00:00+09:00"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"timeZone": "Nowhere/Else"}, "UnknownTimeZone"),
        ({"schedule": "every day"}, "UnparseableSchedule"),
        ({"schedule": "59 23 31 2 *"}, "InvalidSchedule"),
        ({"timeZone": "Nowhere/Else", "suspend": True}, "UnknownTimeZone"),
        ({"suspend": True}, None),
    ],
)
def test_what_cannot_be_scheduled_is_said_and_waits_for_a_change(spec: Object, reason: str | None) -> None:
    w = world(cronjob(**spec) if "schedule" not in spec else cronjob(spec["schedule"]), NOON + 301)

    assert plan_of(w).requeue_after is None
    w.settle(CRONJOB)
    assert names(w) == []
    assert reasons(w)[:1] == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"timeZone": "Nowhere/Else"},
            'invalid timeZone: "Nowhere/Else": unknown time zone Nowhere/Else',
        ),
        ({"timeZone": "../etc/passwd"}, 'invalid timeZone: "../etc/passwd": unknown time zone ../etc/passwd'),
        (
            {"schedule": "59 23 31 2 *"},
            "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second",
        ),
    ],
)
def test_what_is_said_about_a_schedule(spec: Object, message: str) -> None:
    schedule = spec.pop("schedule", "*/5 * * * *")
    w = world(cronjob(schedule, created=NOON - 86400, **spec), NOON + 3600.5)
    desired = w.get(RESOURCE, KEY)
    assert desired is not None
    w.put(RESOURCE, {**desired, "status": {"lastScheduleTime": format_time(NOON - 3600)}})
    w.settle(CRONJOB)

    assert [text for _, _, text in w.events][:1] == [message]


@pytest.mark.parametrize("stamp", ["", "soon", "2026-13-01T00:00:00Z", "9999-99-99"])
def test_a_stamp_that_somebody_wrote_on_a_job_hurts_nobody(stamp: str) -> None:
    w = world(cronjob(), NOON + 301)
    w.settle(CRONJOB)
    (job,) = w.list(JOBS)
    marked = {"batch.kubernetes.io/cronjob-scheduled-timestamp": stamp}
    w.put(JOBS, {**job, "metadata": {**job["metadata"], "annotations": marked}})
    w.time = NOON + 601
    w.settle(CRONJOB)

    assert len(names(w)) == 2


def test_history_keeps_the_newest_of_each_kind() -> None:
    w = world(cronjob(successfulJobsHistoryLimit=2), NOON)
    for number in range(1, 6):
        w.time = NOON + number * 300 + 1
        w.settle(CRONJOB)
        end(w, "Failed" if number in (2, 3) else "Complete")
    w.settle(CRONJOB)

    kept = [int(n.removeprefix("hello-")) * 60 for n in names(w)]
    assert [(t - int(NOON)) // 300 for t in kept] == [3, 4, 5]


YEAR = 365 * 86400.0


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        ("* * * * *", (2026, 3, 1, 12, 0)),
        ("0 3 * * 1-5", (2026, 2, 27, 3, 0)),
        ("* 0 1 1 *", (2026, 1, 1, 0, 59)),  # every minute of one hour of the year
        ("* * * 11 *", (2025, 11, 30, 23, 59)),
        ("0 0 29 2 *", (2024, 2, 29, 0, 0)),
    ],
)
def test_ten_years_behind_one_job_makes_up_for_all(schedule: str, last: tuple[int, ...]) -> None:
    w = world(cronjob(schedule, created=NOON - 10 * YEAR))
    for _ in range(4):
        w.sync(CRONJOB, KEY)

    at = calendar.timegm((*last, 0))
    assert names(w) == [f"hello-{at // 60}"]
    missed = [message for _, reason, message in w.events if reason == "TooManyMissedTimes"]
    assert len(missed) == (schedule != "0 0 29 2 *")


@settings(deadline=None)
@given(
    schedule=st.sampled_from(["*/7 * * * *", "3 */5 * * 1-5", "10-12 4 * * *", "30 6-16/4 * * 1-5"]),
    behind=st.integers(1, 40 * 1440),
)
def test_the_time_made_up_for_is_the_last_one(schedule: str, behind: int) -> None:
    since = NOON - behind * 60
    times = [since]
    while (following := cron.parse(schedule).next(times[-1], UTC)) is not None and following <= NOON:
        times.append(following)
    w = world(cronjob(schedule, created=since))
    w.sync(CRONJOB, KEY)

    assert names(w) == ([f"hello-{int(times[-1]) // 60}"] if len(times) > 1 else [])


def test_a_pass_does_not_look_again_at_how_each_of_its_kept_jobs_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    w = world(cronjob(successfulJobsHistoryLimit=100))
    for minutes in range(5, 105, 5):
        w.time = NOON + 60 * minutes + 1
        w.settle(CRONJOB)
        end(w)
    w.settle(CRONJOB)
    desired = w.get(RESOURCE, KEY)
    assert desired is not None
    assert CRONJOB.status is not None
    observed = CRONJOB.observe(desired, w)
    looks: list[str] = []
    monkeypatch.setattr(conditions, "is_true", lambda known, kind: looks.append(kind))

    plan = CRONJOB.reconcile(desired, observed)
    status = CRONJOB.status(desired, observed, Outcome(plan))

    assert len(names(w)) == 20
    assert (plan.actions, status) == ((), desired["status"])
    assert looks == []

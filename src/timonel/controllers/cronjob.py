"""CronJob: start a Job at every time of the schedule, under the concurrency policy, and keep a history.

Watches   cronjobs.batch; jobs.batch
Writes    jobs.batch (create, delete); cronjobs.batch/status
Upstream  pkg/controller/cronjob/cronjob_controllerv2.go, utils.go
"""

from __future__ import annotations

import email.utils
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from itertools import chain

from timonel.control.actions import Action, Create, Delete, Outcome, Plan, Record, Status, Told
from timonel.control.declare import Cache, ControllerType, Watch, its_controller
from timonel.machinery import cron
from timonel.objects import conditions, workloads
from timonel.objects.indexing import namespace_of
from timonel.objects.meta import (
    Object,
    annotations_of,
    controller_of,
    controller_ref,
    format_time,
    is_deleting,
    key_of,
    nested,
    parse_time,
    uid_of,
)
from timonel.records import dataclass

RESOURCE = "cronjobs.batch"
JOBS = "jobs.batch"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# Look a little after the scheduled time, so that it has surely come.
DELAY = 0.1
MANY_MISSED = 100


@dataclass(frozen=True, slots=True)
class Observed:
    """Its Jobs: those that are not finished, of which there are few, and those that are, of which many may be kept."""

    running: Sequence[Object]
    complete: Sequence[Object]
    failed: Sequence[Object]
    now: float

    @property
    def jobs(self) -> Iterator[Object]:
        return chain(self.running, self.complete, self.failed)


@dataclass(frozen=True, slots=True)
class Due:
    """`at`: the most recent time that was missed, if any; `next`: the first to come; None if none ever comes."""

    at: float | None
    next: float | None
    missed: int = 0


def by_outcome(job: Object) -> Iterable[tuple[str, str, str]]:
    """Namespace, uid of the controller, and how the Job ended; that is looked at once for each of its versions."""
    ref = controller_of(job)
    return () if ref is None else ((namespace_of(job), ref["uid"], _outcome_of(job)),)


def observe(desired: Object, cache: Cache) -> Observed:
    running, complete, failed = (
        cache.by(JOBS, by_outcome, (namespace_of(desired), uid_of(desired), outcome))
        for outcome in ("", "Complete", "Failed")
    )
    return Observed(running, complete, failed, cache.now())


def reconcile(desired: Object, observed: Observed) -> Plan:
    actions = _follow_active(desired, observed)
    if is_deleting(desired):
        return Plan(tuple(actions))
    actions += _superfluous(desired, observed)
    try:
        zone = _zone(desired)
    except zoneinfo.ZoneInfoNotFoundError:
        name = desired["spec"]["timeZone"]
        message = f'invalid timeZone: "{name}": unknown time zone {name}'
        return Plan((*actions, Record("Warning", "UnknownTimeZone", message)))
    if desired["spec"].get("suspend"):
        return Plan(tuple(actions))
    text = desired["spec"]["schedule"]
    try:
        schedule = cron.parse(text)
    except ValueError as err:
        actions.append(Record("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {err}'))
        return Plan(tuple(actions))
    if "TZ" in text:
        url = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
        message = (
            f'CRON_TZ or TZ used in schedule "{text}" is not officially supported, see {url} for more details'
        )
        actions.append(Record("Warning", "UnsupportedSchedule", message))
    due = _due(desired, schedule, zone, observed.now)
    if due.next is None:
        message = f"invalid schedule: {text} : time difference between two schedules is less than 1 second"
        return Plan((*actions, Record("Warning", "InvalidSchedule", message)))
    if due.missed > MANY_MISSED:
        message = (
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        )
        actions.append(Record("Warning", "TooManyMissedTimes", message))
    if due.at is not None:
        actions += _start(desired, observed, due.at, zone)
    return Plan(tuple(actions), max(0.0, due.next - observed.now) + DELAY)


def _zone(desired: Object) -> tzinfo:
    name = desired["spec"].get("timeZone")
    if not name:
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError) as err:  # a path that is no zone file
        raise zoneinfo.ZoneInfoNotFoundError(f"unknown time zone {name}") from err


def _due(desired: Object, schedule: cron.Schedule, zone: tzinfo, now: float) -> Due:
    since = parse_time(nested(desired, "status", "lastScheduleTime"))
    if since is None:
        since = parse_time(desired["metadata"].get("creationTimestamp")) or now
    deadline = desired["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, now - deadline)
    first = schedule.next(since, zone)
    if first is None or first > now:
        return Due(None, first)
    at, missed = first, 1
    following = schedule.next(first, zone)
    if following is not None and following <= now:
        # As upstream counts them: as if the schedule were even.
        missed = int((now - first) // (following - first)) + 1
        later: float | None = _last(schedule, zone, first, now) if missed > MANY_MISSED else following
        while later is not None and later <= now:
            at = later
            later = schedule.next(at, zone)
        following = later
    return Due(at, following, missed)


def _last(schedule: cron.Schedule, zone: tzinfo, after: float, now: float) -> float:
    """The last time up to now, of which there are many: the search halves what is left of the time."""
    low, high, found = after, now, after
    while high - low > 1.0:
        middle = (low + high) / 2
        following = schedule.next(middle, zone)
        if following is not None and following <= now:
            low = found = following
        else:
            high = middle
    return found


def _start(desired: Object, observed: Observed, at: float, zone: tzinfo) -> list[Action]:
    deadline = desired["spec"].get("startingDeadlineSeconds")
    if deadline is not None and at + deadline < observed.now:
        when = email.utils.format_datetime(datetime.fromtimestamp(at, UTC))
        return [Record("Warning", "MissSchedule", f"Missed scheduled time to start a job: {when}")]
    name = job_name(desired, at)
    if any(job["metadata"]["name"] == name for job in observed.jobs):
        return []
    actions: list[Action] = []
    active = _still_active(desired, observed)
    policy = desired["spec"].get("concurrencyPolicy")
    if policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return [Record("Normal", "JobAlreadyActive", message)]
    if policy == "Replace":
        actions += [a for job in active for a in _delete(job)]
    failed = Told("FailedCreate", "Error creating job: ")
    made = Told("SuccessfulCreate", f"Created job {name}")
    # A Job of that name that is not ours keeps its place, and this time is passed over.
    return [*actions, Create(JOBS, new_job(desired, at, zone), exists_ok=True, failed=failed, made=made)]


def job_name(desired: Object, at: float) -> str:
    return f"{desired['metadata']['name']}-{int(at) // 60}"


def new_job(desired: Object, at: float, zone: tzinfo) -> Object:
    template = desired["spec"]["jobTemplate"]
    made_from = template.get("metadata") or {}
    stamp = datetime.fromtimestamp(at, zone).isoformat().replace("+00:00", "Z")
    meta: Object = {
        "name": job_name(desired, at),
        "namespace": desired["metadata"]["namespace"],
        "annotations": {**(made_from.get("annotations") or {}), SCHEDULED: stamp},
        "ownerReferences": [controller_ref(desired)],
    }
    if made_from.get("labels"):
        meta["labels"] = dict(made_from["labels"])
    spec = workloads.copy_tree(template.get("spec") or {})
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def _outcome_of(job: Object) -> str:
    """Complete, Failed, or empty for a Job that is not finished."""
    known = nested(job, "status", "conditions")
    return next((t for t in ("Complete", "Failed") if conditions.is_true(known, t)), "")


def _forgotten(desired: Object, observed: Observed) -> list[Object]:
    """Jobs of later times than the status knows of: they were created, but the write that told so was lost."""
    last = parse_time(nested(desired, "status", "lastScheduleTime")) or 0.0
    return [job for job in observed.running if (_scheduled_at(job) or 0.0) > last]


def _still_active(desired: Object, observed: Observed) -> list[Object]:
    listed = {ref["uid"] for ref in nested(desired, "status", "active") or ()}
    listed |= set(map(uid_of, _forgotten(desired, observed)))
    return [job for job in observed.running if uid_of(job) in listed]


def _follow_active(desired: Object, observed: Observed) -> list[Action]:
    listed = {ref["uid"]: ref["name"] for ref in nested(desired, "status", "active") or ()}
    expected = {*listed, *map(uid_of, _forgotten(desired, observed))}
    actions: list[Action] = []
    for job in observed.running:
        if uid_of(job) not in expected and not is_deleting(job):
            name = job["metadata"]["name"]
            message = f"Saw a job that the controller did not create or forgot: {name}"
            actions.append(Record("Warning", "UnexpectedJob", message))
    if not listed:
        return actions
    for outcome, jobs in (("Complete", observed.complete), ("Failed", observed.failed)):
        for job in jobs:
            if uid_of(job) in listed:
                message = f"Saw completed job: {job['metadata']['name']}, condition: {outcome}"
                actions.append(Record("Normal", "SawCompletedJob", message))
    there = set(map(uid_of, observed.jobs))
    for uid, name in listed.items():
        if uid not in there:
            actions.append(Record("Normal", "MissingJob", f"Active job went missing: {name}"))
    return actions


def _superfluous(desired: Object, observed: Observed) -> list[Action]:
    actions: list[Action] = []
    for jobs, field in (
        (observed.complete, "successfulJobsHistoryLimit"),
        (observed.failed, "failedJobsHistoryLimit"),
    ):
        limit = desired["spec"].get(field)
        if limit is None or len(jobs) <= limit:
            continue
        finished = [job for job in jobs if not is_deleting(job)]
        finished.sort(key=lambda j: (nested(j, "status", "startTime") or "", j["metadata"]["name"]))
        for job in finished[: max(0, len(finished) - limit)]:
            actions += _delete(job)
    return actions


def _delete(job: Object) -> list[Action]:
    failed = Told("FailedDelete", "Deleted job: ")
    return [
        Delete(JOBS, key_of(job), uid_of(job), propagation="Background", failed=failed),
        Record("Normal", "SuccessfulDelete", f"Deleted job {job['metadata']['name']}"),
    ]


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status:
    stored = desired.get("status") or {}
    gone = {a.uid for a in outcome.plan.actions if isinstance(a, Delete)}
    running = [job for job in _still_active(desired, observed) if uid_of(job) not in gone]
    kept = {ref["uid"]: ref for ref in stored.get("active") or ()}
    active = [kept.get(uid_of(job)) or _reference(job) for job in running]
    times = [parse_time(stored.get("lastScheduleTime")), *map(_scheduled_at, observed.jobs)]
    for number, action in enumerate(outcome.plan.actions):
        if isinstance(action, Create) and outcome.results.get(number) is not None:
            active.append(_reference(outcome.results[number]))
            times.append(_scheduled_at(action.obj))
    new: Status = {}
    last = max((t for t in times if t is not None), default=None)
    if active:
        new["active"] = active
    if last is not None:
        new["lastScheduleTime"] = format_time(last)
    ends = [nested(job, "status", "completionTime") for job in observed.complete]
    latest = max((t for t in (*ends, stored.get("lastSuccessfulTime")) if t), default=None)
    if latest:
        new["lastSuccessfulTime"] = latest
    return new


def _scheduled_at(job: Object) -> float | None:
    """None also for what somebody wrote there that is no time."""
    text = annotations_of(job).get(SCHEDULED)
    return None if text is None else _moment(text)


@lru_cache(maxsize=4096)
def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _reference(job: Object) -> dict[str, str]:
    meta = job["metadata"]
    found = {n: meta.get(n, "") for n in ("namespace", "name", "uid", "resourceVersion")}
    return {"kind": "Job", "apiVersion": "batch/v1", **{k: v for k, v in found.items() if v}}


CRONJOB = ControllerType(
    name="cronjob-controller",
    watches=(Watch(RESOURCE), Watch(JOBS, wakes=its_controller("CronJob"))),
    observe=observe,
    reconcile=reconcile,
    status=status,
)

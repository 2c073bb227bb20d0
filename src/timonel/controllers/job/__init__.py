"""Job: run pods until enough of them have succeeded, or too many have failed.

`tally` counts and judges, `podset` decides what to start and stop, this file turns both into actions and status.
`strays` frees the pods that no Job counts.

Watches   jobs.batch; pods
Writes    pods (create, delete, tracking finalizer); jobs.batch/status
Upstream  pkg/controller/job/job_controller.go
"""

from __future__ import annotations

from dataclasses import replace

from timonel.control.actions import Action, Create, Delete, Outcome, Plan, Record, Status, claims
from timonel.control.declare import Cache, ControllerType, Memory, Watch, controller_or_adopters
from timonel.controllers.job import indexes, podset, strays
from timonel.controllers.job import tally as counting
from timonel.objects import conditions, pods, workloads
from timonel.objects.meta import Object, format_time, is_deleting, key_of, nested, uid_of
from timonel.records import dataclass

RESOURCE = "jobs.batch"


@dataclass(frozen=True, slots=True)
class Observed:
    """`failures`: when pods failed since the last success, which new ones wait for."""

    claim: workloads.Claim
    tally: counting.Tally
    failures: podset.Failures
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    matches = workloads.selector_of(desired).matches
    mine = cache.controlled_by(desired, "pods")
    orphans = cache.orphans("pods", desired["metadata"]["namespace"], matches)
    claim = workloads.claim(desired, matches, [*mine, *orphans])
    failures = podset.recent_failures(desired, claim.owned, {})
    return Observed(claim, counting.count(desired, claim.owned, cache.now()), failures, cache.now())


def _recall(seen: Observed, known: podset.Failures) -> Observed:
    return replace(seen, failures={**known, **seen.failures})


def _remember(desired: Object, observed: Observed, outcome: Outcome) -> podset.Failures:
    return podset.recent_failures(desired, observed.claim.owned, observed.failures)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if not counting.is_ours(desired):
        return Plan()
    claim, tally = observed.claim, observed.tally
    tracking = (counting.FINALIZER,)
    actions = claims("pods", adopt=claim.adopt, release=claim.release, finalizers=tracking)
    if is_deleting(desired) or counting.is_finished(desired):
        return Plan((*actions, *(strays.untrack(p) for p in claim.owned if counting.is_tracked(p))))
    actions += [
        strays.untrack(p) for p in claim.owned if counting.is_tracked(p) and _is_counted(desired, tally, p)
    ]
    step = podset.step(desired, tally, claim.owned, observed.failures, observed.now)
    for pod in step.doomed:
        # Who is stopped for being one too many, or while the Job is suspended, has not failed: nobody counts it.
        actions += [strays.untrack(pod)] if counting.is_tracked(pod) and tally.verdict is None else []
        actions.append(Delete("pods", key_of(pod), uid_of(pod), event=True))
    actions += [Create("pods", pod, event=True) for pod in step.create]
    actions += _events(desired, observed)
    waits = [step.wait, counting.seconds_to_deadline(desired, observed.now)]
    return Plan(tuple(actions), min((w for w in waits if w is not None and w > 0), default=None))


def _is_counted(desired: Object, tally: counting.Tally, pod: Object) -> bool:
    """What the stored status remembers may lose its finalizer, and what is not counted."""
    uid = uid_of(pod)
    if uid in tally.stored_succeeded or uid in tally.stored_failed:
        return True
    if uid in tally.ignored:
        return tally.verdict is None or counting.is_announced(desired, tally.verdict)
    if not indexes.is_indexed(desired) or pods.phase_of(pod) != "Succeeded":
        return False
    stored = nested(desired, "status", "completedIndexes")
    return indexes.index_of(pod) in indexes.parse(stored, desired["spec"].get("completions", 0))


def _is_settled(desired: Object, observed: Observed) -> bool:
    """The verdict is announced, no pod runs and every pod is counted: it may become final."""
    tally = observed.tally
    if tally.verdict is None or tally.active or tally.terminating:
        return False
    open_ = (tally.new_succeeded, tally.new_failed, tally.stored_succeeded, tally.stored_failed)
    return counting.is_announced(desired, tally.verdict) and not any(open_)


def _events(desired: Object, observed: Observed) -> list[Action]:
    verdict = observed.tally.verdict
    if verdict is not None:
        if not _is_settled(desired, observed):
            return []
        if verdict.final == "Complete":
            return [*_too_many(desired, observed.tally), Record("Normal", "Completed", "Job completed")]
        return [Record("Warning", verdict.reason, verdict.message)]
    was, now = _was_suspended(desired), counting.is_suspended(desired)
    if was == now:
        return []
    return [
        Record("Normal", "Suspended", "Job suspended") if now else Record("Normal", "Resumed", "Job resumed")
    ]


def _too_many(desired: Object, tally: counting.Tally) -> list[Action]:
    if tally.succeeded <= desired["spec"].get("completions", tally.succeeded):
        return []
    message = "Too many succeeded pods running after completion count reached"
    return [Record("Warning", "TooManySucceededPods", message)]


def _was_suspended(desired: Object) -> bool:
    return conditions.is_true(nested(desired, "status", "conditions"), "Suspended")


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if not counting.is_ours(desired) or is_deleting(desired) or counting.is_finished(desired):
        return None
    stored = desired.get("status") or {}
    new: Status = {k: v for k, v in stored.items() if k in ("startTime", "completionTime", "conditions")}
    if not counting.is_suspended(desired):
        new.setdefault("startTime", format_time(observed.now))
    _judge(desired, observed, new)
    _count_pods(desired, observed, outcome, new)
    if not new.get("conditions"):
        new.pop("conditions", None)
    return new


def _judge(desired: Object, observed: Observed, new: Status) -> None:
    verdict, now = observed.tally.verdict, observed.now
    known = new.get("conditions")
    if verdict is not None:
        for type_ in (verdict.target, verdict.final) if _is_settled(desired, observed) else (verdict.target,):
            known = conditions.put(known, _condition(type_, "True", verdict.reason, verdict.message, now))
            if type_ == "Complete":
                new["completionTime"] = format_time(now)
    elif counting.is_suspended(desired):
        if not _was_suspended(desired):
            known = conditions.put(
                known, _condition("Suspended", "True", "JobSuspended", "Job suspended", now)
            )
            new.pop("startTime", None)  # so that where its pods go may be changed
    elif _was_suspended(desired):
        known = conditions.put(known, _condition("Suspended", "False", "JobResumed", "Job resumed", now))
        new["startTime"] = format_time(now)
    new["conditions"] = known


def _condition(type_: str, status: str, reason: str, message: str, now: float) -> conditions.Condition:
    return conditions.make(type_, status, reason, message, now, lastProbeTime=format_time(now))


def _count_pods(desired: Object, observed: Observed, outcome: Outcome, new: Status) -> None:
    tally, stored = observed.tally, desired.get("status") or {}
    done = [a for i, a in enumerate(outcome.plan.actions) if i in outcome.results]
    started = sum(isinstance(a, Create) for a in done)
    stopped = sum(isinstance(a, Delete) for a in done)
    active = len(tally.active) + started - stopped
    tracked = {uid_of(p) for p in observed.claim.owned if counting.is_tracked(p)}
    still_succeeded = [u for u in tally.stored_succeeded if u in tracked]
    still_failed = [u for u in tally.stored_failed if u in tracked]
    counts = {
        "active": active,
        "succeeded": stored.get("succeeded", 0) + len(tally.stored_succeeded) - len(still_succeeded),
        "failed": stored.get("failed", 0) + len(tally.stored_failed) - len(still_failed),
    }
    if indexes.is_indexed(desired):
        counts["succeeded"] = len(tally.done)
        if tally.done:
            new["completedIndexes"] = indexes.render(tally.done)
        if "backoffLimitPerIndex" in desired["spec"]:
            new["failedIndexes"] = indexes.render(tally.lost)
    new.update({k: v for k, v in counts.items() if v})
    stopping = {a.uid for a in done if isinstance(a, Delete)}
    new["ready"] = sum(pods.is_ready(p) for p in tally.active if uid_of(p) not in stopping)
    new["terminating"] = tally.terminating + stopped
    uncounted = {
        "succeeded": [*still_succeeded, *tally.new_succeeded],
        "failed": [*still_failed, *tally.new_failed],
    }
    new["uncountedTerminatedPods"] = {k: v for k, v in uncounted.items() if v}


JOB = ControllerType(
    name="job-controller",
    watches=(
        Watch(RESOURCE),
        Watch("pods", wakes=controller_or_adopters("Job", RESOURCE)),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
    memory=Memory(recall=_recall, remember=_remember),
)
JOBS = (JOB, strays.STRAYS)

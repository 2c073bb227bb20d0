"""Job: run pods until enough of them have succeeded, or too many have failed.

`tally` counts and judges, `podset` decides what to start and stop, this file turns both into actions and status.

Watches   jobs.batch; pods
Writes    pods (create, delete, tracking finalizer); jobs.batch/status
Upstream  pkg/controller/job/job_controller.go
"""

from __future__ import annotations

from dataclasses import dataclass

from timonel.control.actions import Action, Create, Delete, Outcome, Patch, Plan, Record, Status, claims
from timonel.control.declare import Cache, ControllerType, Watch, controller_or_adopters
from timonel.controllers.job import indexes, podset
from timonel.controllers.job import tally as counting
from timonel.objects import conditions, pods, workloads
from timonel.objects.meta import Key, Object, controller_of, format_time, is_deleting, key_of, nested, uid_of

RESOURCE = "jobs.batch"
MANAGER = "kubernetes.io/job-controller"


@dataclass(frozen=True, slots=True)
class Observed:
    claim: workloads.Claim
    tally: counting.Tally
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    matches = workloads.selector_of(desired).matches
    mine = cache.controlled_by(desired, "pods")
    orphans = cache.orphans("pods", desired["metadata"]["namespace"], matches)
    claim = workloads.claim(desired, matches, [*mine, *orphans])
    return Observed(claim, counting.count(desired, claim.owned, cache.now()), cache.now())


def is_ours(job: Object) -> bool:
    return bool(job["spec"].get("managedBy", MANAGER) == MANAGER)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if not is_ours(desired):
        return Plan()
    claim, tally = observed.claim, observed.tally
    actions = claims("pods", adopt=claim.adopt, release=claim.release)
    actions += [_untrack(p) for p in claim.release if counting.is_tracked(p)]
    if is_deleting(desired) or counting.is_finished(desired):
        return Plan((*actions, *(_untrack(p) for p in claim.owned if counting.is_tracked(p))))
    actions += [_untrack(p) for p in claim.owned if counting.is_tracked(p) and _is_counted(desired, tally, p)]
    step = podset.step(desired, tally, claim.owned, observed.now)
    actions += [Delete("pods", key_of(p), uid_of(p), event=True) for p in step.doomed]
    actions += [Create("pods", pod, event=True) for pod in step.create]
    actions += _events(desired, observed)
    waits = [step.wait, counting.seconds_to_deadline(desired, observed.now)]
    return Plan(tuple(actions), min((w for w in waits if w is not None and w > 0), default=None))


def _untrack(pod: Object) -> Action:
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [counting.FINALIZER]}}
    return Patch("pods", key_of(pod), patch, kind="strategic", uid=uid_of(pod), missing_ok=True)


def _is_counted(desired: Object, tally: counting.Tally, pod: Object) -> bool:
    """What the stored status remembers may lose its finalizer."""
    uid = uid_of(pod)
    if uid in tally.ignored or uid in tally.stored_succeeded or uid in tally.stored_failed:
        return True
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
    announced = conditions.is_true(nested(desired, "status", "conditions"), tally.verdict.target)
    return announced and not any(open_)


def _events(desired: Object, observed: Observed) -> list[Action]:
    verdict = observed.tally.verdict
    if verdict is not None:
        if not _is_settled(desired, observed):
            return []
        if verdict.final == "Complete":
            return [Record("Normal", "Completed", "Job completed")]
        return [Record("Warning", verdict.reason, verdict.message)]
    was, now = _was_suspended(desired), counting.is_suspended(desired)
    if was == now:
        return []
    return [
        Record("Normal", "Suspended", "Job suspended") if now else Record("Normal", "Resumed", "Job resumed")
    ]


def _was_suspended(desired: Object) -> bool:
    return conditions.is_true(nested(desired, "status", "conditions"), "Suspended")


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if not is_ours(desired) or is_deleting(desired) or counting.is_finished(desired):
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
    new["ready"] = sum(map(pods.is_ready, tally.active)) if active else 0
    new["terminating"] = tally.terminating + stopped
    uncounted = {
        "succeeded": [*still_succeeded, *tally.new_succeeded],
        "failed": [*still_failed, *tally.new_failed],
    }
    new["uncountedTerminatedPods"] = {k: v for k, v in uncounted.items() if v}


def absent(key: Key, cache: Cache) -> Plan:
    """Pods whose Job is gone: nobody counts them any more, so they must not be held back."""
    return Plan(
        tuple(
            _untrack(pod)
            for pod in cache.list("pods", key.namespace)
            if counting.is_tracked(pod) and _names(pod, key.name)
        )
    )


def _names(pod: Object, job: str) -> bool:
    ref = controller_of(pod)
    return ref is not None and ref["kind"] == "Job" and ref["name"] == job


JOB = ControllerType(
    name="job-controller",
    watches=(
        Watch(RESOURCE),
        Watch("pods", wakes=controller_or_adopters("Job", RESOURCE)),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
    absent=absent,
)

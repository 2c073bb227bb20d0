"""Where a Job stands: its pods counted once each, and the verdict on the whole.

A finished pod keeps the tracking finalizer until it is counted for good, in three steps, so that no crash counts it
twice or never:

    finished → its uid in status.uncountedTerminatedPods → finalizer removed → uid out, counter up

A success of an Indexed Job is counted by its index in status.completedIndexes instead.
Upstream: pkg/controller/job/job_controller.go (trackJobStatusAndRemoveFinalizers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from timonel.controllers.job import indexes, policy
from timonel.objects import conditions, pods
from timonel.objects.meta import Object, is_deleting, nested, parse_time, uid_of
from timonel.records import dataclass

FINALIZER = "batch.kubernetes.io/job-tracking"
MANAGER = "kubernetes.io/job-controller"
# Upper bound of uids that one status carries.
MAX_UNCOUNTED = 500


class Verdict(NamedTuple):
    """`target` announces it, `final` follows once every pod has stopped and is counted."""

    target: str  # SuccessCriteriaMet or FailureTarget
    final: str  # Complete or Failed
    reason: str
    message: str


def succeeded(reason: str, message: str) -> Verdict:
    return Verdict("SuccessCriteriaMet", "Complete", reason, message)


def failed(reason: str, message: str) -> Verdict:
    return Verdict("FailureTarget", "Failed", reason, message)


@dataclass(frozen=True, slots=True)
class Tally:
    """`new_*`: uids to note as uncounted; `stored_*`: noted ones; `done` and `lost`: indexes.

    `ignored` are let go without being counted. `held` is, by index, the failed pod that is kept until another takes its
    place, so that the count of the index's failures passes on.
    """

    active: list[Object]
    terminating: int
    new_succeeded: list[str]
    new_failed: list[str]
    stored_succeeded: list[str]
    stored_failed: list[str]
    ignored: set[str]
    succeeded: int
    failed: int
    done: set[int]
    lost: set[int]
    held: dict[int, Object]
    verdict: Verdict | None


def is_ours(job: Object) -> bool:
    """Others may do what this controller does, for Jobs that say so in spec.managedBy."""
    return bool(job["spec"].get("managedBy", MANAGER) == MANAGER)


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def is_finished(job: Object) -> bool:
    stored = nested(job, "status", "conditions")
    return conditions.is_true(stored, "Complete") or conditions.is_true(stored, "Failed")


def is_announced(job: Object, verdict: Verdict) -> bool:
    return conditions.is_true(nested(job, "status", "conditions"), verdict.target)


def is_tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def replaces_only_failed(job: Object) -> bool:
    return bool(job["spec"].get("podReplacementPolicy") == "Failed" or job["spec"].get("podFailurePolicy"))


def has_failed(job: Object, pod: Object) -> bool:
    """A pod on its way out counts as failed at once, unless only failed pods are to be replaced."""
    if pods.phase_of(pod) == "Failed":
        return True
    return not replaces_only_failed(job) and is_deleting(pod) and pods.phase_of(pod) != "Succeeded"


def count(job: Object, owned: Sequence[Object], now: float) -> Tally:
    status = job.get("status") or {}
    noted = status.get("uncountedTerminatedPods") or {}
    stored_succeeded: list[str] = noted.get("succeeded") or []
    stored_failed: list[str] = noted.get("failed") or []
    known = {*stored_succeeded, *stored_failed}
    fresh = [p for p in owned if is_tracked(p) and uid_of(p) not in known]
    astray = [p for p in fresh if not _has_place(job, p)]
    fresh = [p for p in fresh if _has_place(job, p)]
    won = [p for p in fresh if pods.phase_of(p) == "Succeeded"]
    failed_now = [p for p in fresh if has_failed(job, p)]
    counting = [p for p in failed_now if policy.match(job, p).action != "Ignore"]
    done, lost = _indexes(job, won, failed_now)
    indexed = indexes.is_indexed(job)
    total = len(done)
    if not indexed:
        total = status.get("succeeded", 0) + len(stored_succeeded) + len(won)
    losses = status.get("failed", 0) + len(stored_failed) + len(counting)
    verdict = _verdict(job, owned, Score(total, losses, done, lost), now)
    active = [p for p in owned if pods.is_active(p)]
    held = {} if verdict is not None else _held(job, active, failed_now, done | lost)
    ended = _ended(job, fresh, failed_now, verdict)
    kept = {uid_of(p) for p in held.values()}
    to_note = [p for p in ended if uid_of(p) not in kept and policy.match(job, p).action != "Ignore"]
    room = max(0, MAX_UNCOUNTED - len(known))
    new_succeeded = [] if indexed else [uid_of(p) for p in won][:room]
    new_failed = [uid_of(p) for p in to_note][: max(0, room - len(new_succeeded))]
    ignored = _let_go(job, astray, fresh, ended, kept, verdict)
    return Tally(
        active=active,
        terminating=sum(map(pods.is_terminating, owned)),
        new_succeeded=new_succeeded,
        new_failed=new_failed,
        stored_succeeded=stored_succeeded,
        stored_failed=stored_failed,
        ignored=ignored,
        succeeded=total,
        failed=losses,
        done=done,
        lost=lost,
        held=held,
        verdict=verdict,
    )


def _has_place(job: Object, pod: Object) -> bool:
    """Pods of an Indexed Job without a valid index count for nothing."""
    index = indexes.index_of(pod)
    return not indexes.is_indexed(job) or (index is not None and index < job["spec"].get("completions", 0))


def _indexes(job: Object, won: Iterable[Object], failed_now: Iterable[Object]) -> tuple[set[int], set[int]]:
    """Those that have succeeded and those that are given up."""
    if not indexes.is_indexed(job):
        return set(), set()
    status, completions = job.get("status") or {}, job["spec"].get("completions", 0)
    done = indexes.parse(status.get("completedIndexes"), completions) | indexes.of(won)
    lost = indexes.parse(status.get("failedIndexes"), completions)
    lost |= indexes.of(p for p in failed_now if _is_index_lost(job, p))
    return done, lost - done


def _is_index_lost(job: Object, pod: Object) -> bool:
    limit = job["spec"].get("backoffLimitPerIndex")
    action = policy.match(job, pod).action
    if limit is None or action == "Ignore":
        return False
    return action == "FailIndex" or indexes.failures_of(pod) >= limit


def _held(
    job: Object, active: Iterable[Object], failed_now: Iterable[Object], closed: set[int]
) -> dict[int, Object]:
    if "backoffLimitPerIndex" not in job["spec"]:
        return {}
    settled = closed | indexes.of(active)
    held: dict[int, Object] = {}
    for pod in sorted(failed_now, key=lambda p: (indexes.all_failures_of(p), finished_at(p))):
        index = indexes.index_of(pod)
        if index is not None and index not in settled:
            held[index] = pod
    return held


def _ended(
    job: Object, fresh: Sequence[Object], failed_now: Sequence[Object], verdict: Verdict | None
) -> Sequence[Object]:
    """With the Job, every pod has failed that has not succeeded; once it has succeeded, none fails any more."""
    if verdict is None:
        return failed_now
    if verdict.final == "Failed":
        return [p for p in fresh if pods.phase_of(p) != "Succeeded"]
    return [] if is_announced(job, verdict) else failed_now


def _let_go(
    job: Object,
    astray: Iterable[Object],
    fresh: Iterable[Object],
    ended: Iterable[Object],
    kept: set[str],
    verdict: Verdict | None,
) -> set[str]:
    over = verdict is not None
    found = {uid_of(p) for p in astray if over or pods.is_terminal(p) or has_failed(job, p)}
    found |= {uid_of(p) for p in ended if policy.match(job, p).action == "Ignore"} - kept
    if verdict is not None and verdict.final == "Complete" and is_announced(job, verdict):
        found |= {uid_of(p) for p in fresh if pods.phase_of(p) != "Succeeded"}
    return found


class Score(NamedTuple):
    """`done` and `lost`: indexes."""

    succeeded: int
    failed: int
    done: set[int]
    lost: set[int]


def _verdict(job: Object, owned: Sequence[Object], score: Score, now: float) -> Verdict | None:
    """Rules in upstream's order; a verdict that was announced stands."""
    spec = job["spec"]
    announced = nested(job, "status", "conditions")
    for make, type_ in ((succeeded, "SuccessCriteriaMet"), (failed, "FailureTarget")):
        condition = conditions.find(announced, type_)
        if condition is not None and condition["status"] == "True":
            return make(condition.get("reason", ""), condition.get("message", ""))
    message = policy.fail_message(job, (p for p in owned if has_failed(job, p)))
    if message is not None:
        return failed("PodFailurePolicy", message)
    if score.failed > spec.get("backoffLimit", 6) or _restarted_too_often(job, owned):
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return failed("DeadlineExceeded", "Job was active longer than specified deadline")
    if indexes.is_indexed(job):
        found = _verdict_by_index(job, score)
        if found is not None:
            return found
    enough = score.succeeded >= spec["completions"] if "completions" in spec else score.succeeded > 0
    if enough and not any(map(pods.is_active, owned)):
        return succeeded("CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _verdict_by_index(job: Object, score: Score) -> Verdict | None:
    spec = job["spec"]
    if "backoffLimitPerIndex" in spec:
        allowed = spec.get("maxFailedIndexes")
        if allowed is not None and len(score.lost) > allowed:
            text = "Job has exceeded the specified maximal number of failed indexes"
            return failed("MaxFailedIndexesExceeded", text)
        if score.lost and len(score.lost) + len(score.done) >= spec.get("completions", 0):
            return failed("FailedIndexes", "Job has failed indexes")
    text = policy.success_message(job, score.done) or ""
    return succeeded("SuccessPolicy", text) if text else None


def _restarted_too_often(job: Object, owned: Sequence[Object]) -> bool:
    """With restartPolicy OnFailure the restarts within the living pods count."""
    if nested(job, "spec", "template", "spec", "restartPolicy") != "OnFailure":
        return False
    restarts = 0
    for pod in owned:
        if pods.phase_of(pod) in ("Running", "Pending"):
            status = pod.get("status") or {}
            for name in ("initContainerStatuses", "containerStatuses"):
                restarts += sum(c.get("restartCount", 0) for c in status.get(name) or ())
    limit = job["spec"].get("backoffLimit", 6)
    return restarts > 0 if limit == 0 else restarts >= limit


def seconds_to_deadline(job: Object, now: float) -> float | None:
    limit = job["spec"].get("activeDeadlineSeconds")
    started = parse_time(nested(job, "status", "startTime"))
    if limit is None or started is None or is_suspended(job):
        return None
    return float(started + limit - now)


def finished_at(pod: Object) -> float:
    """When a pod ended, or failing that about when it stopped being of use."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    ends = [
        parse_time(((c.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for c in status.get("containerStatuses") or ()
    ]
    if ends and None not in ends:
        return max(end for end in ends if end is not None)
    ready = pods.condition_of(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return parse_time(ready["lastTransitionTime"]) or 0.0
    deleted = parse_time(meta.get("deletionTimestamp"))
    if deleted is not None:
        return deleted - (meta.get("deletionGracePeriodSeconds") or 0)
    return parse_time(meta.get("creationTimestamp")) or 0.0

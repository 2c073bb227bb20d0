"""Where a Job stands: its pods counted once each, and the verdict on the whole.

A finished pod keeps the tracking finalizer until it is counted for good, in three steps, so that no crash counts it
twice or never:

    finished → its uid in status.uncountedTerminatedPods → finalizer removed → uid out, counter up

A success of an Indexed Job is counted by its index in status.completedIndexes instead.
Upstream: pkg/controller/job/job_controller.go (trackJobStatusAndRemoveFinalizers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from timonel.controllers.job import indexes, policy
from timonel.objects import conditions, pods
from timonel.objects.meta import Object, is_deleting, nested, parse_time

FINALIZER = "batch.kubernetes.io/job-tracking"
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
    """`new_*`: uids to note as uncounted; `stored_*`: noted ones; `done` and `lost`: indexes."""

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
    verdict: Verdict | None


def is_suspended(job: Object) -> bool:
    return bool(job["spec"].get("suspend"))


def is_finished(job: Object) -> bool:
    stored = nested(job, "status", "conditions")
    return conditions.is_true(stored, "Complete") or conditions.is_true(stored, "Failed")


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
    uncounted = status.get("uncountedTerminatedPods") or {}
    stored_succeeded: list[str] = uncounted.get("succeeded") or []
    stored_failed: list[str] = uncounted.get("failed") or []
    completions = job["spec"].get("completions", 0)
    indexed = indexes.is_indexed(job)
    done = indexes.parse(status.get("completedIndexes"), completions) if indexed else set()
    lost = indexes.parse(status.get("failedIndexes"), completions) if indexed else set()
    new_succeeded: list[str] = []
    new_failed: list[str] = []
    ignored: set[str] = set()
    known = {*stored_succeeded, *stored_failed}
    for pod in owned:
        uid = pod["metadata"]["uid"]
        if not is_tracked(pod) or uid in known:
            continue
        index = indexes.index_of(pod)
        if indexed and (index is None or index >= completions):
            if pods.is_terminal(pod) or has_failed(job, pod):
                ignored.add(uid)
        elif pods.phase_of(pod) == "Succeeded":
            if index is not None and indexed:
                done.add(index)
            else:
                new_succeeded.append(uid)
        elif has_failed(job, pod):
            action = policy.match(job, pod).action if pods.is_terminal(pod) else "Count"
            if action == "Ignore":
                ignored.add(uid)
            else:
                new_failed.append(uid)
            if indexed and index is not None and _is_index_lost(job, pod, action):
                lost.add(index)
    room = MAX_UNCOUNTED - len(known)
    new_succeeded = new_succeeded[: max(0, room)]
    new_failed = new_failed[: max(0, room - len(new_succeeded))]
    total = len(done)
    if not indexed:
        total = status.get("succeeded", 0) + len(stored_succeeded) + len(new_succeeded)
    tally = Tally(
        active=[p for p in owned if pods.is_active(p)],
        terminating=sum(map(pods.is_terminating, owned)),
        new_succeeded=new_succeeded,
        new_failed=new_failed,
        stored_succeeded=stored_succeeded,
        stored_failed=stored_failed,
        ignored=ignored,
        succeeded=total,
        failed=status.get("failed", 0) + len(stored_failed) + len(new_failed),
        done=done,
        lost=lost - done,
        verdict=None,
    )
    return replace(tally, verdict=_verdict(job, tally, owned, now))


def _is_index_lost(job: Object, pod: Object, action: str) -> bool:
    limit = job["spec"].get("backoffLimitPerIndex")
    if limit is None or action == "Ignore":
        return False
    return action == "FailIndex" or indexes.failures_of(pod) >= limit


def _verdict(job: Object, tally: Tally, owned: Sequence[Object], now: float) -> Verdict | None:
    """Rules in upstream's order; a verdict that was announced stands."""
    spec = job["spec"]
    announced = nested(job, "status", "conditions")
    for make, type_ in ((failed, "FailureTarget"), (succeeded, "SuccessCriteriaMet")):
        condition = conditions.find(announced, type_)
        if condition is not None and condition["status"] == "True":
            return make(condition.get("reason", ""), condition.get("message", ""))
    message = policy.fail_message(job, (p for p in owned if pods.phase_of(p) == "Failed"))
    if message is not None:
        return failed("PodFailurePolicy", message)
    limit = spec.get("backoffLimit", 6)
    if tally.failed > limit or _restarted_too_often(job, owned):
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    left = seconds_to_deadline(job, now)
    if left is not None and left <= 0:
        return failed("DeadlineExceeded", "Job was active longer than specified deadline")
    if indexes.is_indexed(job):
        allowed = spec.get("maxFailedIndexes")
        if allowed is not None and len(tally.lost) > allowed:
            text = "Job has exceeded the specified maximal number of failed indexes"
            return failed("MaxFailedIndexesExceeded", text)
        text = policy.success_message(job, tally.done) or ""
        if text:
            return succeeded("SuccessPolicy", text)
        if tally.lost and len(tally.lost) + len(tally.done) >= spec.get("completions", 0):
            return failed("FailedIndexes", "Job has failed indexes")
    enough = tally.succeeded >= spec["completions"] if "completions" in spec else tally.succeeded > 0
    if enough and not tally.active and not (is_suspended(job) and not tally.succeeded):
        return succeeded("CompletionsReached", "Reached expected number of succeeded pods")
    return None


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

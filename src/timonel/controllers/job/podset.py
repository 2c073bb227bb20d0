"""The pods of a Job: how many to start or stop now, when to try again after failures, and what a pod looks like.

Upstream: pkg/controller/job/job_controller.go (manageJob), backoff_utils.go, indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from timonel.controllers.job import indexes, policy
from timonel.controllers.job.tally import (
    FINALIZER,
    Tally,
    finished_at,
    has_failed,
    is_suspended,
    is_tracked,
    replaces_only_failed,
)
from timonel.objects import pods, workloads
from timonel.objects.meta import Object, is_deleting, uid_of

Failures = Mapping[str, float]  # when pods failed, by their uid
MAX_PER_PASS = 500
FIRST_BACKOFF = 10.0
MAX_BACKOFF = 600.0
MOST_DOUBLINGS = 10  # more make no difference


class Step(NamedTuple):
    create: list[Object]
    doomed: list[Object]
    wait: float | None = None


def step(job: Object, tally: Tally, owned: Sequence[Object], failures: Failures, now: float) -> Step:
    """`failures` are the recent ones, that new pods wait for."""
    if tally.verdict is not None or is_suspended(job):
        return Step([], tally.active)
    surplus = (
        indexes.duplicates(job, tally.active, tally.done | tally.lost) if indexes.is_indexed(job) else []
    )
    active = len(tally.active)
    wanted = _wanted(job, tally)
    too_many = max(active - wanted, len(surplus))
    if too_many > 0:
        uids = {p["metadata"]["uid"] for p in surplus}
        rest = (p for p in pods.least_advanced_first(tally.active) if p["metadata"]["uid"] not in uids)
        return Step([], [*surplus, *rest][: min(too_many, MAX_PER_PASS)])
    missing = wanted - active - (tally.terminating if replaces_only_failed(job) else 0)
    if missing <= 0:
        return Step([], [])
    missing = min(missing, MAX_PER_PASS)
    per_index = "backoffLimitPerIndex" in job["spec"]
    wait = 0.0 if per_index else backoff_left(len(failures), max(failures.values(), default=0.0), now)
    if wait > 0:
        return Step([], [], wait)
    if not indexes.is_indexed(job):
        return Step([new_pod(job) for _ in range(missing)], [])
    taken = tally.done | tally.lost | indexes.of(tally.active)
    if replaces_only_failed(job):
        taken |= indexes.of(p for p in owned if pods.is_terminating(p))
    free = indexes.first_pending(job, taken, missing)
    if per_index:
        return _by_index(job, tally, free, now)
    return Step([new_pod(job, i) for i in free], [])


def _wanted(job: Object, tally: Tally) -> int:
    parallelism: int = job["spec"].get("parallelism", 1)
    if "completions" not in job["spec"]:
        # A work queue: one success means the work is done, and what runs may end by itself.
        return len(tally.active) if tally.succeeded > 0 else parallelism
    open_: int = job["spec"]["completions"] - tally.succeeded
    return max(0, min(open_, parallelism))


def _by_index(job: Object, tally: Tally, free: Sequence[int], now: float) -> Step:
    """Each index has a back-off and a failure count of its own, which its last failed pod tells."""
    waits: list[float] = []
    create: list[Object] = []
    for index in free:
        last = tally.held.get(index)
        wait = 0.0
        if last is not None:
            wait = backoff_left(indexes.all_failures_of(last) + 1, finished_at(last), now)
        if wait > 0:
            waits.append(wait)
        else:
            create.append(new_pod(job, index, replaces=last))
    return Step(create, [], min(waits, default=None))


def recent_failures(job: Object, owned: Sequence[Object], known: Failures) -> Failures:
    """When which pods failed after the last success: `known` ones, and what the pods that are there tell."""
    last = max((finished_at(p) for p in owned if pods.phase_of(p) == "Succeeded"), default=-1.0)
    fresh = {
        uid_of(p): finished_at(p)
        for p in owned
        if has_failed(job, p) and (is_tracked(p) or not is_deleting(p))
    }
    found = sorted({**known, **fresh}.items(), key=lambda item: item[1])
    return {uid: at for uid, at in found[-MOST_DOUBLINGS:] if at > last}


def backoff_left(failures: int, last: float, now: float) -> float:
    """10 s after the first failure in a row, doubling up to 10 min."""
    if not failures:
        return 0.0
    return last + min(FIRST_BACKOFF * 2.0 ** min(failures - 1, MOST_DOUBLINGS), MAX_BACKOFF) - now


def new_pod(job: Object, index: int | None = None, *, replaces: Object | None = None) -> Object:
    pod = workloads.pod_from_template(job["spec"]["template"], job)
    meta, spec = pod["metadata"], pod["spec"]
    if not is_tracked(pod):
        meta["finalizers"] = [*(meta.get("finalizers") or ()), FINALIZER]
    if index is None:
        return pod
    name = job["metadata"]["name"]
    meta["generateName"] = indexes.name_prefix(job, index)
    marked = meta.setdefault("annotations", {})
    marked[indexes.INDEX] = str(index)
    if "backoffLimitPerIndex" in job["spec"]:
        marked.update(_failure_counts(job, replaces))
    meta.setdefault("labels", {})[indexes.INDEX] = str(index)
    spec["hostname"] = f"{name}-{index}"
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{indexes.INDEX}']"}}
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            env = container.setdefault("env", [])
            if all(e["name"] != "JOB_COMPLETION_INDEX" for e in env):
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return pod


def _failure_counts(job: Object, replaces: Object | None) -> dict[str, str]:
    if replaces is None:
        return {indexes.FAILURES: "0"}
    failures, ignored = indexes.failures_of(replaces), indexes.ignored_failures_of(replaces)
    if policy.match(job, replaces).action == "Ignore":
        ignored += 1
    else:
        failures += 1
    counts = {indexes.FAILURES: str(failures)}
    return {**counts, indexes.IGNORED_FAILURES: str(ignored)} if ignored else counts

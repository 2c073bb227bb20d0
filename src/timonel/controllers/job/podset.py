"""The pods of a Job: how many to start or stop now, when to try again after failures, and what a pod looks like.

Upstream: pkg/controller/job/job_controller.go (manageJob), backoff_utils.go, indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from timonel.controllers.job import indexes
from timonel.controllers.job.tally import FINALIZER, Tally, has_failed, is_suspended, replaces_only_failed
from timonel.objects import pods, workloads
from timonel.objects.meta import Object, parse_time

MAX_PER_PASS = 500
FIRST_BACKOFF = 10.0
MAX_BACKOFF = 600.0


class Step(NamedTuple):
    create: list[Object]
    doomed: list[Object]
    wait: float | None = None


def step(job: Object, tally: Tally, owned: Sequence[Object], now: float) -> Step:
    if tally.verdict is not None or is_suspended(job):
        return Step([], tally.active[:MAX_PER_PASS])
    surplus = (
        indexes.duplicates(job, tally.active, tally.done | tally.lost) if indexes.is_indexed(job) else []
    )
    active = len(tally.active)
    wanted = _wanted(job, tally)
    too_many = max(active - wanted, len(surplus))
    if too_many > 0:
        uids = {p["metadata"]["uid"] for p in surplus}
        rest = (p for p in pods.cheapest_first(tally.active, (), now) if p["metadata"]["uid"] not in uids)
        return Step([], [*surplus, *rest][: min(too_many, MAX_PER_PASS)])
    missing = wanted - active - (tally.terminating if replaces_only_failed(job) else 0)
    if missing <= 0:
        return Step([], [])
    if "backoffLimitPerIndex" in job["spec"]:
        return _by_index(job, tally, owned, missing, now)
    wait = backoff_left(_failures(job, owned), now)
    if wait > 0:
        return Step([], [], wait)
    missing = min(missing, MAX_PER_PASS)
    if not indexes.is_indexed(job):
        return Step([new_pod(job) for _ in range(missing)], [])
    taken = tally.done | tally.lost | _indexes(tally.active)
    return Step([new_pod(job, i) for i in indexes.first_pending(job, taken, missing)], [])


def _wanted(job: Object, tally: Tally) -> int:
    parallelism: int = job["spec"].get("parallelism", 1)
    if "completions" not in job["spec"]:
        # A work queue: one success means the work is done, and what runs may end by itself.
        return len(tally.active) if tally.succeeded > 0 else parallelism
    open_: int = job["spec"]["completions"] - tally.succeeded - len(tally.lost)
    return max(0, min(open_, parallelism))


def _indexes(some: Iterable[Object]) -> set[int]:
    return {i for i in map(indexes.index_of, some) if i is not None}


def _by_index(job: Object, tally: Tally, owned: Sequence[Object], missing: int, now: float) -> Step:
    """Each index has a back-off and a failure count of its own."""
    taken = tally.done | tally.lost | _indexes(tally.active)
    waits: list[float] = []
    create: list[Object] = []
    for index in indexes.first_pending(job, taken, job["spec"]["completions"]):
        mine = [p for p in owned if indexes.index_of(p) == index and has_failed(job, p)]
        failures = max((indexes.failures_of(p) + 1 for p in mine), default=0)
        wait = backoff_left([max(map(_finished_at, mine), default=0.0)] * failures, now)
        if wait > 0:
            waits.append(wait)
        elif len(create) < min(missing, MAX_PER_PASS):
            create.append(new_pod(job, index, failures=failures))
    return Step(create, [], min(waits, default=None))


def _failures(job: Object, owned: Sequence[Object]) -> list[float]:
    """When pods failed after the last success. Deduced from the pods: a plan has no memory of its own."""
    last = max((_finished_at(p) for p in owned if pods.phase_of(p) == "Succeeded"), default=-1.0)
    return [at for at in (_finished_at(p) for p in owned if has_failed(job, p)) if at > last]


def backoff_left(failures: Sequence[float], now: float) -> float:
    """10 s after the first failure in a row, doubling up to 10 min."""
    if not failures:
        return 0.0
    delay = min(FIRST_BACKOFF * 2.0 ** min(len(failures) - 1, 10), MAX_BACKOFF)
    return max(failures) + delay - now


def _finished_at(pod: Object) -> float:
    status = pod.get("status") or {}
    ends = [
        parse_time(((c.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for c in status.get("containerStatuses") or ()
    ]
    known = [end for end in ends if end]
    if known:
        return max(known)
    ready = pods.condition_of(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return parse_time(ready["lastTransitionTime"]) or 0.0
    meta = pod["metadata"]
    return parse_time(meta.get("deletionTimestamp")) or parse_time(meta.get("creationTimestamp")) or 0.0


def new_pod(job: Object, index: int | None = None, *, failures: int = 0) -> Object:
    pod = workloads.pod_from_template(job["spec"]["template"], job)
    meta, spec = pod["metadata"], pod["spec"]
    meta["finalizers"] = [*(meta.get("finalizers") or ()), FINALIZER]
    if index is None:
        return pod
    name = job["metadata"]["name"]
    meta["generateName"] = f"{name}-{index}-"
    marked = meta.setdefault("annotations", {})
    marked[indexes.INDEX] = str(index)
    if "backoffLimitPerIndex" in job["spec"]:
        marked[indexes.FAILURES] = str(failures)
    meta.setdefault("labels", {})[indexes.INDEX] = str(index)
    spec["hostname"] = f"{name}-{index}"
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{indexes.INDEX}']"}}
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            env = container.setdefault("env", [])
            if all(e["name"] != "JOB_COMPLETION_INDEX" for e in env):
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return pod

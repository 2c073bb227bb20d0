"""Pods that carry the tracking finalizer while no Job counts them: they are let go.

Their Job is gone (a namesake may have its place), or has ended, or has given them up, and no other would adopt them.

Watches   pods, jobs.batch
Writes    pods (tracking finalizer)
Upstream  pkg/controller/job/job_controller.go (syncOrphanPod)
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Action, Patch, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.controllers.job import tally
from timonel.objects import workloads
from timonel.objects.meta import Key, Object, controller_of, is_deleting, key_of, labels_of, uid_of

JOBS = "jobs.batch"


def untrack(pod: Object) -> Action:
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [tally.FINALIZER]}}
    return Patch("pods", key_of(pod), patch, kind="strategic", uid=uid_of(pod), missing_ok=True)


def observe(pod: Object, cache: Cache) -> bool:
    """Whether nobody counts this pod."""
    if not tally.is_tracked(pod):
        return False
    ref = controller_of(pod)
    if ref is None:
        return is_deleting(pod) or not any(
            _would_adopt(job, pod) for job in cache.list(JOBS, pod["metadata"]["namespace"])
        )
    if ref["kind"] != "Job" or ref["apiVersion"] != "batch/v1":
        return False
    job = cache.get(JOBS, Key(pod["metadata"]["namespace"], ref["name"]))
    if job is None or uid_of(job) != ref["uid"]:
        return True
    return tally.is_ours(job) and tally.is_finished(job)


def _would_adopt(job: Object, pod: Object) -> bool:
    at_work = tally.is_ours(job) and not is_deleting(job) and not tally.is_finished(job)
    return at_work and workloads.selector_of(job).matches(labels_of(pod))


def reconcile(pod: Object, is_stray: bool) -> Plan:
    return Plan((untrack(pod),)) if is_stray else Plan()


def _itself(pod: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(pod),) if observe(pod, cache) else ()


def _its_pods(job: Object, cache: Cache) -> Iterable[Key]:
    """Of a Job that goes or has ended; of others, what becomes of pods is seen on the pods."""
    current = cache.get(JOBS, key_of(job))
    there = current is not None and uid_of(current) == uid_of(job)
    if there and not tally.is_finished(job) and not is_deleting(job):
        return ()
    matches = workloads.selector_of(job).matches
    free = cache.orphans("pods", job["metadata"]["namespace"], matches)
    return [key_of(p) for p in (*cache.controlled_by(job, "pods"), *free) if tally.is_tracked(p)]


STRAYS = ControllerType(
    name="job-controller",
    watches=(Watch("pods", wakes=_itself), Watch(JOBS, wakes=_its_pods)),
    observe=observe,
    reconcile=reconcile,
    workers=1,
)

"""Finished Jobs are deleted, with their pods, ttlSecondsAfterFinished after their end.

Watches   jobs.batch
Writes    jobs.batch (delete)
Upstream  pkg/controller/ttlafterfinished/ttlafterfinished_controller.go
"""

from __future__ import annotations

from timonel.control.actions import Delete, Plan
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.meta import Object, is_deleting, key_of, nested, parse_time, uid_of

RESOURCE = "jobs.batch"


def observe(desired: Object, cache: Cache) -> float:
    return cache.now()


def finished_at(job: Object) -> float | None:
    for condition in nested(job, "status", "conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def reconcile(desired: Object, now: float) -> Plan:
    ttl, end = desired["spec"].get("ttlSecondsAfterFinished"), finished_at(desired)
    if ttl is None or end is None or is_deleting(desired):
        return Plan()
    if end + ttl > now:
        return Plan((), end + ttl - now)
    version = desired["metadata"].get("resourceVersion", "")
    return Plan(
        (
            Delete(
                RESOURCE,
                key_of(desired),
                uid_of(desired),
                resource_version=version,
                propagation="Foreground",
            ),
        )
    )


TTL_AFTER_FINISHED = ControllerType(
    name="ttl-after-finished-controller",
    watches=(Watch(RESOURCE),),
    observe=observe,
    reconcile=reconcile,
)

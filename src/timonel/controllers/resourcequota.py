"""ResourceQuota: count anew what a namespace uses when a quota is new or changed, and when something was given back.

Admission counts what is created, at once and with the quota's version in hand. This controller must not count over it
with a cache that does not show those objects yet, so additions do not wake it. Five minutes after a quota was charged
it counts all the same: what was charged may never have been created.

Watches   resourcequotas; what quotas count (gone, or a pod that ended, wakes the quotas of the namespace); the
          metadata of every other namespaced resource, as `count/RESOURCE` may name it
Writes    resourcequotas/status
Upstream  pkg/controller/resourcequota/resource_quota_controller.go, replenishment_controller.go
"""

from __future__ import annotations

from collections.abc import Iterable

from timonel.control.actions import Outcome, Plan, Status
from timonel.control.declare import Cache, ControllerType, Wakes, Watch
from timonel.objects import pods, quotas
from timonel.objects.meta import Key, Object, is_deleting, key_of, nested

RESOURCE = "resourcequotas"
RECOUNT = 300.0  # seconds; upstream's resync period
COUNTED = (
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "secrets",
    "services",
    "cronjobs.batch",
    "daemonsets.apps",
    "deployments.apps",
    "jobs.batch",
    "replicasets.apps",
    "statefulsets.apps",
)
_ALWAYS = (*quotas.COUNTED, "services.loadbalancers", "services.nodeports", "requests.storage")


def observe(desired: Object, cache: Cache) -> quotas.Usage:
    """What the quota's objects take in all, by every name they are counted under."""
    total: quotas.Usage = {}
    others = [name for name in _counted_others(desired) if cache.knows(name)]
    total |= {f"count/{name}": quotas.NOTHING for name in others}
    for resource in (*COUNTED, RESOURCE, *others):
        for obj in cache.list(resource, desired["metadata"]["namespace"]):
            if quotas.in_scope(desired, resource, obj):
                quotas.add(total, quotas.usage(resource, obj))
    return total


def _counted_others(quota: Object) -> Iterable[str]:
    """Resources that only this quota asks about."""
    names = (
        name.removeprefix("count/") for name in quota["spec"].get("hard") or () if name.startswith("count/")
    )
    return [name for name in names if name not in (*COUNTED, RESOURCE)]


def reconcile(desired: Object, total: quotas.Usage) -> Plan:
    return Plan()  # it reports, no more


def _is_known(name: str) -> bool:
    if name.startswith("count/"):
        return name.removeprefix("count/") in (*COUNTED, RESOURCE)
    storage = ".storageclass.storage.k8s.io/" in name
    compute = name.removeprefix("requests.").removeprefix("limits.") in quotas.COMPUTE
    return compute or storage or name in _ALWAYS or name.startswith("requests.")


def status(desired: Object, total: quotas.Usage, outcome: Outcome) -> Status | None:
    if is_deleting(desired):
        return None
    hard: dict[str, str] = desired["spec"].get("hard") or {}
    used = {
        name: str(total.get(name, quotas.NOTHING))
        for name in sorted(hard)
        if name in total or _is_known(name)
    }
    return {"hard": hard, "used": used} if hard else {}


def _is_stale(quota: Object, cache: Cache) -> Iterable[Key]:
    """Its status is not about what it asks now; a mere charge by admission is no reason to count."""
    asked = quota["spec"].get("hard") or {}
    return () if (nested(quota, "status", "hard") or {}) == asked else (key_of(quota),)


def _given_back(resource: str) -> Wakes:
    def wakes(obj: Object, cache: Cache) -> Iterable[Key]:
        ended = resource == "pods" and pods.is_terminal(obj)
        if not ended and cache.get(resource, key_of(obj)) is not None:
            return ()
        return [key_of(quota) for quota in cache.list(RESOURCE, obj["metadata"]["namespace"])]

    return wakes


def _other(resource: str) -> Watch:
    return Watch(resource, wakes=_given_back(resource))


RESOURCEQUOTA = ControllerType(
    name="resourcequota-controller",
    watches=(
        Watch(RESOURCE, wakes=_is_stale),
        Watch(RESOURCE, delay=RECOUNT),
        *(Watch(name, wakes=_given_back(name)) for name in COUNTED),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
    others=_other,
    counts_others=True,
)

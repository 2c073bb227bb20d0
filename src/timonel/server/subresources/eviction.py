"""pods/eviction: a delete that asks the pod's disruption budget first.

Upstream: pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.aio.clock import Clock
from timonel.machinery import errors, selectors
from timonel.machinery.errors import Cause
from timonel.objects import pods as podlib
from timonel.objects.meta import Object, format_time, is_deleting, labels_of
from timonel.server.request import ActionCall, Objects, Reader
from timonel.server.subresources.binding import SUCCESS

BUDGETS = "poddisruptionbudgets.policy"
MANAGER = "kube-apiserver"
_MOST_DISRUPTED = 2000
_RETRY_AFTER = 10
_TOO_MANY = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_TARGET = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "Eviction API: evicting",
}
_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."


class Eviction:
    def __init__(self, objects: Objects, reader: Reader, clock: Clock) -> None:
        self._objects = objects
        self._reader = reader
        self._clock = clock

    async def act(self, call: ActionCall) -> Object:
        if (call.obj.get("metadata") or {}).get("name", "") != call.name:
            raise errors.BadRequest("name in URL does not match name in Eviction object")
        options: Object = dict(call.obj.get("deleteOptions") or {})
        dry_run = call.dry_run or bool(options.get("dryRun"))
        pod = await self._objects.get("pods", call.namespace, call.name)
        budget = ""
        if _needs_no_budget(pod):
            if not podlib.is_terminal(pod) and not is_deleting(pod):
                options = _at_version(options, pod)
        else:
            budget, is_unready = await self._ask_budget(call, pod, dry_run)
            if is_unready:
                options = _at_version(options, pod)
        if not dry_run and _is_seen(options, pod):
            options = await self._say_why(call, options)
        try:
            await self._objects.delete(
                "pods", call.namespace, call.name, options=options, user=call.user, dry_run=dry_run
            )
        except errors.Conflict as e:
            asked = ((call.obj.get("deleteOptions") or {}).get("preconditions") or {}).get("resourceVersion")
            if budget and not asked:
                raise _still_processed(budget) from e
            raise
        return dict(SUCCESS)

    async def _say_why(self, call: ActionCall, options: Object) -> Object:
        """The pod tells by a condition that it was evicted; the options, for the pod as it is then."""
        now = format_time(self._clock.now())

        def add(pod: Object) -> None:
            if not _is_seen(options, pod):
                return  # changed in between: the delete will refuse it
            status = pod.setdefault("status", {})
            others = [c for c in status.get("conditions") or () if c["type"] != _TARGET["type"]]
            status["conditions"] = [*others, {**_TARGET, "lastProbeTime": None, "lastTransitionTime": now}]

        pod = await self._objects.change("pods", call.namespace, call.name, add)
        if (options.get("preconditions") or {}).get("resourceVersion"):
            preconditions = {
                **options["preconditions"],
                "resourceVersion": pod["metadata"]["resourceVersion"],
            }
            return {**options, "preconditions": preconditions}
        return options

    async def _ask_budget(self, call: ActionCall, pod: Object, dry_run: bool) -> tuple[str, bool]:
        """The budget that let the pod go, and whether it did so because the pod is not ready (nothing is counted)."""
        budgets = _matching(self._reader.list(BUDGETS, call.namespace), pod)
        if not budgets:
            return "", False
        if len(budgets) > 1:
            raise errors.StatusError(_TOO_MANY)
        budget = budgets[0]
        name = budget["metadata"]["name"]
        if not podlib.is_ready(pod) and _lets_unready_go(budget):
            return name, True
        now = format_time(self._clock.now())

        def take_one(current: Object) -> None:
            _take_one(current, call.name, now)

        await self._objects.change(
            BUDGETS,
            call.namespace,
            name,
            take_one,
            dry_run=dry_run,
            manager=MANAGER,
            subresource="status",
        )
        return name, False


def _is_seen(options: Object, pod: Object) -> bool:
    """Whether the pod is the one that the preconditions speak of."""
    preconditions = options.get("preconditions") or {}
    return all(preconditions.get(k) in (None, "", pod["metadata"].get(k)) for k in ("uid", "resourceVersion"))


def _needs_no_budget(pod: Object) -> bool:
    """Pods that have ended, not begun, or are on their way out disturb nobody."""
    return podlib.is_terminal(pod) or podlib.phase_of(pod) == "Pending" or is_deleting(pod)


def _at_version(options: Object, pod: Object) -> Object:
    preconditions = options.get("preconditions") or {}
    if preconditions.get("resourceVersion"):
        return options
    return {
        **options,
        "preconditions": {**preconditions, "resourceVersion": pod["metadata"]["resourceVersion"]},
    }


def _matching(budgets: Sequence[Object], pod: Object) -> list[Object]:
    found = []
    for budget in budgets:
        try:
            selector = selectors.from_label_selector(budget["spec"].get("selector"))
        except ValueError:
            continue  # selects nothing
        if selector.matches(labels_of(pod)):
            found.append(budget)
    return found


def _lets_unready_go(budget: Object) -> bool:
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy", 0)
    return bool(0 < desired <= status.get("currentHealthy", 0))


def _take_one(budget: Object, pod: str, now: str) -> None:
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _still_processed(name)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.forbidden("poddisruptionbudget", name, "pdb disruptions allowed is negative", "policy")
    if len(status.get("disruptedPods") or {}) > _MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.forbidden("poddisruptionbudget", name, why, "policy")
    if allowed == 0:
        healthy = f"{status.get('desiredHealthy', 0)} healthy pods and has {status.get('currentHealthy', 0)}"
        raise _refused(f"The disruption budget {name} needs {healthy} currently", 0)
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        _forbid_further(status, now)
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now}
    budget["status"] = status


def _forbid_further(status: Object, now: str) -> None:
    kind = "DisruptionAllowed"
    conditions = list(status.get("conditions") or ())
    before = next((c for c in conditions if c["type"] == kind), None)
    since = before["lastTransitionTime"] if before is not None and before["status"] == "False" else now
    condition = {
        "type": kind,
        "status": "False",
        "observedGeneration": status.get("observedGeneration", 0),
        "lastTransitionTime": since,
        "reason": "InsufficientPods",
        "message": "",
    }
    status["conditions"] = [*(c for c in conditions if c["type"] != kind), condition]


def _still_processed(name: str) -> errors.TooManyRequests:
    return _refused(f"The disruption budget {name} is still being processed by the server.", _RETRY_AFTER)


def _refused(text: str, retry_after: int) -> errors.TooManyRequests:
    return errors.TooManyRequests(
        _VIOLATES, causes=(Cause("DisruptionBudget", text),), retry_after=retry_after
    )

"""ReplicaSet and ReplicationController: keep spec.replicas active pods that match spec.selector.

One controller on two kinds, as upstream's; what differs is where the others of a family are looked for.

Watches   replicasets.apps, replicationcontrollers; pods (wake their controller or, as orphans, all that may adopt them)
Writes    pods (create, delete, adopt, release); replicasets.apps/status, replicationcontrollers/status
Upstream  pkg/controller/replicaset/replica_set.go, replica_set_utils.go; replication/replication_controller.go
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.control.actions import Action, Create, Delete, Outcome, Plan, Status, claims
from timonel.control.declare import Cache, ControllerType, Watch, controller_or_adopters
from timonel.objects import pods, replicas, workloads
from timonel.objects.indexing import by_controller
from timonel.objects.meta import Object, controller_of, key_of, uid_of
from timonel.records import dataclass

RESOURCES = {"ReplicaSet": "replicasets.apps", "ReplicationController": "replicationcontrollers"}


@dataclass(frozen=True, slots=True)
class Observed:
    """`claim` holds the pods; `related` are those of all sets with the same controller, none without one."""

    claim: workloads.Claim
    related: Sequence[Object]
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    matches = workloads.selector_of(desired).matches
    mine = cache.controlled_by(desired, "pods")
    orphans = cache.orphans("pods", desired["metadata"]["namespace"], matches)
    claim = workloads.claim(desired, matches, [*mine, *orphans])
    return Observed(claim, _related(desired, cache), cache.now())


def _related(desired: Object, cache: Cache) -> Sequence[Object]:
    ref = controller_of(desired)
    if ref is None:
        return ()
    family = cache.by(RESOURCES[desired["kind"]], by_controller, ref["uid"])
    return [pod for other in family for pod in cache.controlled_by(other, "pods")]


def reconcile(desired: Object, observed: Observed) -> Plan:
    claim = observed.claim
    actions: list[Action] = claims("pods", adopt=claim.adopt, release=claim.release)
    todo = replicas.difference(desired, claim.owned, observed.related, observed.now)
    template = desired["spec"].get("template") or {}
    for _ in range(todo.missing):
        actions.append(Create("pods", workloads.pod_from_template(template, desired), event=True))
    for pod in todo.doomed:
        actions.append(Delete("pods", key_of(pod), uid_of(pod), event=True))
    min_ready = desired["spec"].get("minReadySeconds", 0)
    active = (p for p in claim.owned if pods.is_active(p))
    return Plan(tuple(actions), pods.next_availability(active, min_ready, observed.now))


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status:
    failure = ""
    if outcome.error is not None:
        deleting = any(isinstance(a, Delete) for a in outcome.plan.actions)
        failure = "FailedDelete" if deleting else "FailedCreate"
    return replicas.status(
        desired, observed.claim.owned, observed.now, failure=failure, message=str(outcome.error or "")
    )


def _on(kind: str, *, name: str) -> ControllerType[Observed]:
    resource = RESOURCES[kind]
    return ControllerType(
        name=name,
        watches=(Watch(resource), Watch("pods", wakes=controller_or_adopters(kind, resource))),
        observe=observe,
        reconcile=reconcile,
        status=status,
    )


REPLICASET = _on("ReplicaSet", name="replicaset-controller")
REPLICATIONCONTROLLER = _on("ReplicationController", name="replication-controller")

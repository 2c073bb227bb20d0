"""Deployment: move pods from the old templates to the new one, by way of one ReplicaSet per template.

One pass takes one step and ends; what it wrote wakes the next. `reconcile` here decides which step is due:

    deleted → nothing · paused or rescaled → scaling · rollback asked for → rollback
    Recreate → recreate · RollingUpdate → rolling
    and, once complete, history beyond revisionHistoryLimit goes.

Watches   deployments.apps; replicasets.apps; pods (of Deployments that recreate: the last old pod gone)
Writes    replicasets.apps (create, patch, delete, adopt, release); deployments.apps (revision) and /status
Upstream  pkg/controller/deployment/deployment_controller.go, sync.go, rolling.go, recreate.go, progress.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from timonel.control.actions import Action, Create, Outcome, Plan, Record, Status, Told, Update, claims
from timonel.control.declare import Cache, ControllerType, Watch, controller_or_adopters
from timonel.controllers.deployment import recreate, replicasets, rollback, rolling, scaling, sizes
from timonel.controllers.deployment import status as verdict
from timonel.machinery.errors import AlreadyExists
from timonel.objects import conditions, workloads
from timonel.objects.meta import (
    Key,
    Object,
    annotations_of,
    controller_of,
    is_controlled_by,
    is_deleting,
    uid_of,
)
from timonel.records import dataclass

RESOURCE = replicasets.DEPLOYMENTS


@dataclass(frozen=True, slots=True)
class Observed:
    """`by_set`: pods by the uid of their ReplicaSet, for Recreate only. `namesake`: what has the new set's name."""

    claim: workloads.Claim
    by_set: Mapping[str, Sequence[Object]]
    namesake: Object | None
    now: float

    @property
    def sets(self) -> tuple[Object, ...]:
        return self.claim.owned


def observe(desired: Object, cache: Cache) -> Observed:
    matches = workloads.selector_of(desired).matches
    namespace = desired["metadata"]["namespace"]
    mine = cache.controlled_by(desired, replicasets.RESOURCE)
    orphans = cache.orphans(replicasets.RESOURCE, namespace, matches)
    claim = workloads.claim(desired, matches, [*mine, *orphans])
    by_set: dict[str, Sequence[Object]] = {}
    if not sizes.is_rolling(desired):
        by_set = {uid_of(rs): cache.controlled_by(rs, "pods") for rs in claim.owned}
    namesake = None
    if replicasets.find_new(desired, claim.owned) is None:
        name = replicasets.build(desired, ())["metadata"]["name"]
        namesake = cache.get(replicasets.RESOURCE, Key(namespace, name))
    return Observed(claim, by_set, namesake, cache.now())


def selects_everything(desired: Object) -> bool:
    selector = desired["spec"].get("selector") or {}
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def reconcile(desired: Object, observed: Observed) -> Plan:
    if selects_everything(desired):
        message = "This deployment is selecting all pods. A non-empty selector is required."
        return Plan((Record("Warning", "SelectingAll", message),))
    actions = claims(replicasets.RESOURCE, adopt=observed.claim.adopt, release=observed.claim.release)
    if is_deleting(desired):
        return Plan(tuple(actions))
    new = replicasets.find_new(desired, observed.sets)
    old = replicasets.find_old(new, observed.sets)
    if new is not None:
        actions += replicasets.refresh(desired, new, old)
        actions += _note_revision(desired, max(replicasets.revision_of(new), replicasets.next_revision(old)))
    revision = rollback.revision_asked_for(desired)
    if revision is not None and not desired["spec"].get("paused"):
        # What else changes the Deployment waits for the next pass, as this changes it whole.
        others = [a for a in actions if not (isinstance(a, Update) and a.resource == RESOURCE)]
        return Plan((*others, *rollback.back(desired, observed.sets, revision)))
    actions += _steps(desired, observed, new, old)
    return Plan(tuple(actions), verdict.seconds_to_deadline(desired, observed.now))


def _steps(desired: Object, observed: Observed, new: Object | None, old: Sequence[Object]) -> list[Action]:
    paused = desired["spec"].get("paused")
    if paused or scaling.is_scaling(desired, observed.sets):
        steps = scaling.scale(desired, new, old)
        tidy = paused and rollback.revision_asked_for(desired) is None
        return [*steps, *replicasets.superfluous(desired, old)] if tidy else steps
    if not sizes.is_rolling(desired):
        drained = recreate.drain(desired, old)
        if drained or not recreate.is_clear(new, old, observed.by_set):
            return drained
    if new is None:
        return _create(desired, old, observed.namesake)
    steps = rolling.step(desired, new, old)
    if not steps and verdict.is_complete(desired, desired.get("status") or {}):
        return replicasets.superfluous(desired, old)
    return steps


def _create(desired: Object, old: Sequence[Object], namesake: Object | None) -> list[Action]:
    new = replicasets.build(desired, old)
    if namesake is not None and is_controlled_by(namesake, desired) and is_deleting(namesake):
        return []  # our own set of this template is on its way out: its disappearance wakes us
    size = sizes.replicas_of(new)
    failed = Told("ReplicaSetCreateError", f'Failed to create new replica set "{new["metadata"]["name"]}": ')
    actions: list[Action] = [Create(replicasets.RESOURCE, new, failed=failed)]
    if size > 0:
        actions.append(replicasets.scaled_event(new["metadata"]["name"], 0, size))
    return actions


def _note_revision(desired: Object, revision: int) -> list[Action]:
    if annotations_of(desired).get(replicasets.REVISION) == str(revision):
        return []
    noted = {**annotations_of(desired), replicasets.REVISION: str(revision)}
    return [Update(RESOURCE, {**desired, "metadata": {**desired["metadata"], "annotations": noted}})]


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    stored: Status = desired.get("status") or {}
    if selects_everything(desired):
        return {**stored, "observedGeneration": desired["metadata"].get("generation", 0)}
    if any(isinstance(a, Update) and a.resource == RESOURCE for a in outcome.plan.actions):
        return None  # the object has changed under us: the next pass, which that wakes, reports
    kept = list(stored.get("conditions") or ())
    if not is_deleting(desired):
        kept = verdict.paused_or_resumed(desired, kept, observed.now)
        kept = _found_or_created(desired, observed, outcome, kept)
    seen = {**desired, "status": {**stored, "conditions": kept}}
    new = replicasets.find_new(desired, observed.sets)
    counted = verdict.counted(seen, new, observed.sets, observed.now)
    if _is_collision(desired, observed, outcome):
        counted["collisionCount"] = counted.get("collisionCount", 0) + 1
    if is_deleting(desired) or desired["spec"].get("paused") or scaling.is_scaling(desired, observed.sets):
        return counted
    return verdict.with_progress(seen, counted, new, observed.sets, observed.now)


def _found_or_created(
    desired: Object, observed: Observed, outcome: Outcome, kept: list[conditions.Condition]
) -> list[conditions.Condition]:
    if not verdict.has_deadline(desired):
        return kept
    now = observed.now
    created = next((a for a in outcome.plan.actions if isinstance(a, Create)), None)
    if created is None:
        new = replicasets.find_new(desired, observed.sets)
        if new is None or conditions.find(kept, "Progressing") is not None:
            return kept
        message = f'Found new replica set "{new["metadata"]["name"]}"'
        return conditions.put(
            kept, verdict.condition("Progressing", "True", "FoundNewReplicaSet", message, now)
        )
    name = created.obj["metadata"]["name"]
    if outcome.error is None:
        message = f'Created new replica set "{name}"'
        return conditions.put(
            kept, verdict.condition("Progressing", "True", "NewReplicaSetCreated", message, now)
        )
    if isinstance(outcome.error, AlreadyExists):
        return kept
    message = f'Failed to create new replica set "{name}": {outcome.error}'
    return conditions.put(
        kept, verdict.condition("Progressing", "False", "ReplicaSetCreateError", message, now)
    )


def _is_collision(desired: Object, observed: Observed, outcome: Outcome) -> bool:
    """The name is taken by another template or owner, so that the next pass must hash differently."""
    taken = observed.namesake
    if not isinstance(outcome.error, AlreadyExists) or taken is None:
        return False
    template = desired["spec"]["template"]
    same = workloads.is_same_template(taken["spec"]["template"], template)
    return not (same and is_controlled_by(taken, desired))


def _recreating_deployment(pod: Object, cache: Cache) -> Iterable[Key]:
    ref = controller_of(pod)
    if ref is None or ref["kind"] != "ReplicaSet":
        return ()
    namespace = pod["metadata"]["namespace"]
    rs = cache.get(replicasets.RESOURCE, Key(namespace, ref["name"]))
    owner = controller_of(rs) if rs is not None else None
    if owner is None or owner["kind"] != "Deployment":
        return ()
    key = Key(namespace, owner["name"])
    deployment = cache.get(RESOURCE, key)
    return (key,) if deployment is not None and not sizes.is_rolling(deployment) else ()


DEPLOYMENT = ControllerType(
    name="deployment-controller",
    watches=(
        Watch(RESOURCE),
        Watch(replicasets.RESOURCE, wakes=controller_or_adopters("Deployment", RESOURCE)),
        Watch("pods", wakes=_recreating_deployment),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
)

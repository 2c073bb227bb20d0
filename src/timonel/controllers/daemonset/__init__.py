"""DaemonSet: one pod on every node that fits the template, bound there by node affinity.

Watches   daemonsets.apps; pods; controllerrevisions.apps; nodes (each change concerns every DaemonSet)
Writes    pods (create, delete, adopt, release); controllerrevisions.apps; daemonsets.apps/status
Upstream  pkg/controller/daemon/daemon_controller.go, update.go
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from timonel.control.actions import Action, Create, Delete, Outcome, Patch, Plan, Record, Status, claims
from timonel.control.declare import Cache, ControllerType, Memory, Watch, controller_or_adopters
from timonel.controllers.daemonset import eligibility, rolling
from timonel.machinery.errors import AlreadyExists
from timonel.objects import pods, revisions, workloads
from timonel.objects.meta import Key, Object, is_deleting, key_of, labels_of, uid_of
from timonel.records import dataclass

RESOURCE = "daemonsets.apps"
BURST_REPLICAS = 250
FIRST_BACKOFF = (
    1.0  # seconds between the replacement of a failed pod and the next one on the same node, doubled
)
LONGEST_BACKOFF = 900.0


@dataclass(frozen=True, slots=True)
class History:
    """`hashed` is the current revision's hash; `actions` bring the stored history up to date."""

    hashed: str
    old: tuple[Object, ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Of a node: when a failed pod was replaced there last, and how long the next one has to wait."""

    since: float
    delay: float


Failures = Mapping[tuple[int, str], Backoff]  # by generation and node


@dataclass(frozen=True, slots=True)
class Observed:
    claim: workloads.Claim
    nodes: Sequence[Object]
    history: History
    now: float
    failures: Failures = field(default_factory=dict)


def observe(desired: Object, cache: Cache) -> Observed:
    matches = workloads.selector_of(desired).matches
    mine = cache.controlled_by(desired, "pods")
    orphans = cache.orphans("pods", desired["metadata"]["namespace"], matches)
    claim = workloads.claim(desired, matches, [*mine, *orphans])
    stored = cache.controlled_by(desired, revisions.RESOURCE)
    free = cache.orphans(revisions.RESOURCE, desired["metadata"]["namespace"], matches)
    history = _history(desired, workloads.claim(desired, matches, [*stored, *free]), claim.owned)
    return Observed(claim, cache.list("nodes"), history, cache.now())


def _history(desired: Object, claim: workloads.Claim, daemon_pods: Sequence[Object]) -> History:
    template = desired["spec"]["template"]
    data = revisions.data_of(template)
    stored = revisions.oldest_first(claim.owned)
    same = [r for r in stored if r.get("data") == data]
    old = tuple(r for r in stored if r.get("data") != data)
    number = revisions.next_number(old)
    actions = claims(revisions.RESOURCE, adopt=claim.adopt, release=claim.release)
    if not same:
        new = revisions.build(desired, template, number, label=workloads.CONTROLLER_REVISION_HASH)
        return History(revisions.hash_of(new), old, (*actions, Create(revisions.RESOURCE, new)))
    current = same[-1]
    twins = {revisions.hash_of(r) for r in same[:-1]}
    label = {"metadata": {"labels": {workloads.CONTROLLER_REVISION_HASH: revisions.hash_of(current)}}}
    actions += [
        Patch("pods", key_of(p), label, uid=uid_of(p)) for p in daemon_pods if revisions.hash_of(p) in twins
    ]
    actions += [Delete(revisions.RESOURCE, key_of(r), uid_of(r)) for r in same[:-1]]
    if revisions.number_of(current) < number:
        # A rollback: the old revision becomes the newest.
        actions.append(Patch(revisions.RESOURCE, key_of(current), {"revision": number}, uid=uid_of(current)))
    return History(revisions.hash_of(current), old, tuple(actions))


def reconcile(desired: Object, observed: Observed) -> Plan:
    actions = claims("pods", adopt=observed.claim.adopt, release=observed.claim.release)
    if is_deleting(desired):
        return Plan(tuple(actions))
    actions += observed.history.actions
    if any(isinstance(a, Patch) and a.resource == "pods" for a in actions):
        return Plan(tuple(actions))  # with their new labels, the next pass will know the pods
    grouped = eligibility.by_node(observed.claim.owned)
    managed, wait = _manage(desired, observed, grouped)
    if not managed and (desired["spec"].get("updateStrategy") or {}).get("type") == "RollingUpdate":
        managed = _roll(desired, observed, grouped)
    actions += managed
    actions += _superfluous(desired, observed)
    min_ready = desired["spec"].get("minReadySeconds", 0)
    waits = [wait, pods.next_availability(observed.claim.owned, min_ready, observed.now)]
    return Plan(tuple(actions), min((w for w in waits if w), default=None))


def _manage(
    desired: Object, observed: Observed, grouped: dict[str, list[Object]]
) -> tuple[list[Action], float | None]:
    """Pods missing on nodes, pods too many, finished ones, and when a failed one may be replaced."""
    missing: list[str] = []
    doomed: list[Object] = []
    events: list[Action] = []
    waits: list[float] = []
    known = {node["metadata"]["name"] for node in observed.nodes}
    for node in observed.nodes:
        name = node["metadata"]["name"]
        group = grouped.get(name, [])
        verdict = eligibility.judge(desired, node)
        if verdict.run and not group:
            missing.append(name)
        elif verdict.stay:
            alive: list[Object] = []
            for pod in (p for p in group if not is_deleting(p)):
                if not pods.is_terminal(pod):
                    alive.append(pod)
                    continue
                left = _backoff_left(desired, observed, name)
                if pods.phase_of(pod) == "Failed" and left > 0:
                    waits.append(left)
                    continue
                events.append(_finished_event(pod, name))
                doomed.append(pod)
            doomed += _excess(desired, observed, alive)
            if not alive and verdict.run and rolling.allows_surge(desired):
                missing.append(name)  # one is to run while another goes
        else:
            doomed += [p for p in group if not is_deleting(p)]
    for name, group in grouped.items():
        if name not in known:
            doomed += [p for p in group if not pods.node_of(p) and not is_deleting(p)]
    hashed = observed.history.hashed
    actions = [*events, *map(_delete, doomed[:BURST_REPLICAS])]
    for name in missing[:BURST_REPLICAS]:
        actions.append(Create("pods", eligibility.pod_for(desired, name, hashed), event=True))
    return actions, min(waits, default=None)


def _backoff_left(desired: Object, observed: Observed, node: str) -> float:
    found = observed.failures.get((desired["metadata"].get("generation", 0), node))
    return max(0.0, found.since + found.delay - observed.now) if found is not None else 0.0


def remember(desired: Object, observed: Observed, outcome: Outcome) -> Failures:
    """Failed pods that were replaced in this pass make the next one of their node wait longer."""
    generation, now = desired["metadata"].get("generation", 0), observed.now
    failures = {k: v for k, v in observed.failures.items() if now - v.since < 2 * LONGEST_BACKOFF}
    deleted = {
        a.uid for i, a in enumerate(outcome.plan.actions) if isinstance(a, Delete) and i in outcome.results
    }
    for pod in observed.claim.owned:
        if pods.phase_of(pod) == "Failed" and uid_of(pod) in deleted:
            key = generation, eligibility.target_of(pod)
            before = failures.get(key)
            delay = FIRST_BACKOFF if before is None else min(before.delay * 2, LONGEST_BACKOFF)
            failures[key] = Backoff(now, delay)
    return failures


def _excess(desired: Object, observed: Observed, alive: Sequence[Object]) -> list[Object]:
    """All but the oldest; with surge an old and a new one may run side by side until the new one is available."""
    if len(alive) <= 1:
        return []
    if not rolling.allows_surge(desired):
        return list(alive[1:])
    new = [p for p in alive if revisions.hash_of(p) == observed.history.hashed]
    old = [p for p in alive if revisions.hash_of(p) != observed.history.hashed]
    doomed = [*new[1:], *old[1:]]
    if new and old:
        min_ready = desired["spec"].get("minReadySeconds", 0)
        if not pods.is_ready(old[0]) or pods.is_available(new[0], min_ready, observed.now):
            doomed.append(old[0])
    return doomed


def _roll(desired: Object, observed: Observed, grouped: dict[str, list[Object]]) -> list[Action]:
    wanted = [n["metadata"]["name"] for n in observed.nodes if eligibility.judge(desired, n).run]
    known = {
        node["metadata"]["name"] for node in observed.nodes
    }  # pods on others are left to the garbage collector
    by_node = {name: group for name, group in grouped.items() if name in known}
    for name in wanted:
        by_node.setdefault(name, [])
    hashed = observed.history.hashed
    step = rolling.step(desired, by_node, set(wanted), hashed, observed.now)
    fresh = [eligibility.pod_for(desired, name, hashed) for name in step.nodes]
    doomed, fresh = step.doomed[:BURST_REPLICAS], fresh[:BURST_REPLICAS]
    return [*map(_delete, doomed), *(Create("pods", pod, event=True) for pod in fresh)]


def _delete(pod: Object) -> Action:
    return Delete("pods", key_of(pod), uid_of(pod), event=True)


def _finished_event(pod: Object, node: str) -> Action:
    if pods.phase_of(pod) == "Failed":
        text = f"Found failed daemon pod {key_of(pod)} on node {node}, will try to kill it"
        return Record("Warning", "FailedDaemonPod", text)
    text = f"Found succeeded daemon pod {key_of(pod)} on node {node}, will try to delete it"
    return Record("Normal", "SucceededDaemonPod", text)


def _superfluous(desired: Object, observed: Observed) -> list[Action]:
    """The oldest revisions beyond revisionHistoryLimit that no pod runs."""
    live = {revisions.hash_of(p) for p in observed.claim.owned}
    surplus = len(observed.history.old) - desired["spec"].get("revisionHistoryLimit", 10)
    idle = [r for r in observed.history.old if revisions.hash_of(r) not in live]
    return [Delete(revisions.RESOURCE, key_of(r), uid_of(r)) for r in idle[: max(0, surplus)]]


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if is_deleting(desired):
        return None
    grouped = eligibility.by_node(observed.claim.owned)
    min_ready = desired["spec"].get("minReadySeconds", 0)
    wanted = current = misscheduled = ready = available = updated = 0
    for node in observed.nodes:
        group = grouped.get(node["metadata"]["name"], [])
        if not eligibility.judge(desired, node).run:
            misscheduled += bool(group)
            continue
        wanted += 1
        if group:
            pod = group[0]
            current += 1
            ready += pods.is_ready(pod)
            available += pods.is_available(pod, min_ready, observed.now)
            updated += revisions.hash_of(pod) == observed.history.hashed
    optional = {
        "observedGeneration": desired["metadata"].get("generation", 0),
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": wanted - available,
        "collisionCount": _collisions(desired, outcome),
    }
    stored = desired.get("status") or {}
    return {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": wanted,
        "numberReady": ready,
        **{k: v for k, v in optional.items() if v},
        **({"conditions": stored["conditions"]} if stored.get("conditions") else {}),
    }


def _collisions(desired: Object, outcome: Outcome) -> int:
    count: int = (desired.get("status") or {}).get("collisionCount", 0)
    creating = (a for a in outcome.plan.actions if isinstance(a, Create))
    clash = isinstance(outcome.error, AlreadyExists) and any(
        a.resource == revisions.RESOURCE for a in creating
    )
    return count + clash


def _every_daemonset(node: Object, cache: Cache) -> Iterable[Key]:
    return [key_of(ds) for ds in cache.list(RESOURCE)]


def _suits_others(old: Object, new: Object) -> bool:
    """A heartbeat changes nothing about which pods a node suits."""
    return labels_of(old) != labels_of(new) or old.get("spec") != new.get("spec")


DAEMONSET = ControllerType(
    name="daemon-set-controller",
    component="daemonset-controller",
    watches=(
        Watch(RESOURCE),
        Watch("pods", wakes=controller_or_adopters("DaemonSet", RESOURCE)),
        Watch(revisions.RESOURCE, wakes=controller_or_adopters("DaemonSet", RESOURCE)),
        Watch("nodes", wakes=_every_daemonset, matters=_suits_others),
    ),
    observe=observe,
    reconcile=reconcile,
    status=status,
    memory=Memory(recall=lambda seen, failures: replace(seen, failures=failures), remember=remember),
)

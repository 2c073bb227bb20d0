"""One claim: find it a volume, ask for one to be provisioned, or report what became of the one it had.

Upstream: pkg/controller/volume/persistentvolume/pv_controller.go (syncUnboundClaim, syncBoundClaim).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from timonel.control.actions import Action, Outcome, Plan, Record, Status, Update
from timonel.control.declare import Cache
from timonel.controllers.persistentvolume_binder import matching
from timonel.objects.meta import Key, Object, annotations_of, is_deleting, key_of, nested, uid_of
from timonel.records import dataclass

CLAIMS = "persistentvolumeclaims"
VOLUMES = "persistentvolumes"
CLASSES = "storageclasses.storage.k8s.io"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True)
class Observed:
    """`named`: the volume that the claim names; `volumes`: where it names none, those that it may get. `default`: the
    default StorageClass, for claims without any."""

    named: Object | None
    volumes: Sequence[Object]
    storage_class: Object | None
    default: Object | None


def observe(desired: Object, cache: Cache) -> Observed:
    name = matching.class_of(desired)
    default = None
    if "storageClassName" not in desired["spec"] and not name:
        default = _default_class(cache.list(CLASSES))
    storage_class = cache.get(CLASSES, Key("", name)) if name else None
    wanted = desired["spec"].get("volumeName")
    if wanted:
        return Observed(cache.get(VOLUMES, Key("", wanted)), (), storage_class, default)
    reserved = cache.by(VOLUMES, matching.by_claim, key_of(desired))
    return Observed(
        None, [*reserved, *cache.by(VOLUMES, matching.by_free_class, name)], storage_class, default
    )


def _default_class(classes: Iterable[Object]) -> Object | None:
    marked = [c for c in classes if annotations_of(c).get(DEFAULT_CLASS) == "true"]
    marked.sort(key=lambda c: str(c["metadata"]["name"]))
    return max(marked, key=lambda c: str(c["metadata"].get("creationTimestamp", "")), default=None)


def is_delayed(desired: Object, observed: Observed) -> bool:
    mode = (observed.storage_class or {}).get("volumeBindingMode")
    return mode == "WaitForFirstConsumer" and SELECTED_NODE not in annotations_of(desired)


def reconcile(desired: Object, observed: Observed) -> Plan:
    if BIND_COMPLETED in annotations_of(desired):
        return Plan(tuple(_check_bound(desired, observed)))
    if desired["spec"].get("volumeName"):
        return Plan(tuple(_bind_wanted(desired, observed)))
    volume = matching.best(desired, observed.volumes, delayed=is_delayed(desired, observed))
    if volume is not None:
        return Plan(tuple(_bind(desired, volume)))
    if is_deleting(desired):
        return Plan()
    return Plan(tuple(_wait(desired, observed)))


def _wait(desired: Object, observed: Observed) -> list[Action]:
    """No volume fits now: say what is being waited for."""
    if observed.default is not None:
        return [_changed(desired, spec={"storageClassName": observed.default["metadata"]["name"]})]
    name = matching.class_of(desired)
    if is_delayed(desired, observed):
        text = "waiting for first consumer to be created before binding"
        return [Record("Normal", "WaitForFirstConsumer", text)]
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        return [Record("Normal", "FailedBinding", text)]
    if observed.storage_class is None:
        return [Record("Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')]
    return _ask_provisioner(desired, observed.storage_class["provisioner"])


def _ask_provisioner(desired: Object, provisioner: str) -> list[Action]:
    if provisioner == NO_PROVISIONER:
        return []
    marks = {PROVISIONER: provisioner, BETA_PROVISIONER: provisioner}
    noted = annotations_of(desired)
    actions: list[Action] = []
    if any(noted.get(k) != v for k, v in marks.items()):
        actions.append(_changed(desired, marks=marks))
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return [*actions, Record("Normal", "ExternalProvisioning", text)]


def _bind_wanted(desired: Object, observed: Observed) -> list[Action]:
    """The claim, or its user, has named a volume."""
    volume = observed.named
    if volume is None:
        return []
    name = volume["metadata"]["name"]
    ref = volume["spec"].get("claimRef")
    if ref and not matching.is_reserved_for(volume, desired):
        text = f'volume "{name}" already bound to a different claim.'
        return [Record("Warning", "FailedBinding", text)]
    reason = matching.problem(volume, desired)
    if reason and not ref:
        return [Record("Warning", "VolumeMismatch", f'Cannot bind to requested volume "{name}": {reason}')]
    return _bind(desired, volume)


def _bind(desired: Object, volume: Object) -> list[Action]:
    """Both sides name each other, the volume first: what it says decides if two claims want it."""
    actions: list[Action] = []
    ref = volume["spec"].get("claimRef") or {}
    if ref.get("uid") != uid_of(desired):
        actions.append(_claim_volume(desired, volume, by_us=not ref))
    marks = {BIND_COMPLETED: "yes"}
    spec = {"volumeName": volume["metadata"]["name"]}
    if desired["spec"].get("volumeName") != spec["volumeName"]:
        marks[BOUND_BY_CONTROLLER] = "yes"
    noted = all(annotations_of(desired).get(k) == v for k, v in marks.items())
    if not noted or desired["spec"].get("volumeName") != spec["volumeName"]:
        actions.append(_changed(desired, marks=marks, spec=spec))
    return actions


def _changed(
    desired: Object, *, marks: Mapping[str, str] | None = None, spec: Mapping[str, Any] | None = None
) -> Action:
    meta = {**desired["metadata"], "annotations": {**annotations_of(desired), **(marks or {})}}
    return Update(CLAIMS, {**desired, "metadata": meta, "spec": {**desired["spec"], **(spec or {})}})


def _claim_volume(desired: Object, volume: Object, *, by_us: bool) -> Action:
    meta = desired["metadata"]
    ref = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    noted = {**annotations_of(volume), **({BOUND_BY_CONTROLLER: "yes"} if by_us else {})}
    changed = {**volume["metadata"], "annotations": noted}
    return Update(VOLUMES, {**volume, "metadata": changed, "spec": {**volume["spec"], "claimRef": ref}})


def _loss(desired: Object, observed: Observed) -> tuple[str, str] | None:
    """(reason, message) when a bound claim no longer has its volume."""
    name = desired["spec"].get("volumeName")
    if not name:
        return "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
    volume = observed.named
    if volume is None:
        return "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    ref = volume["spec"].get("claimRef")
    if ref and not matching.is_reserved_for(volume, desired):
        text = "Two claims are bound to the same volume, this one is bound incorrectly"
        return "ClaimMisbound", text
    return None


def _check_bound(desired: Object, observed: Observed) -> list[Action]:
    loss = _loss(desired, observed)
    if loss is not None:
        known = nested(desired, "status", "phase") == "Lost"
        return [] if known else [Record("Warning", *loss)]
    volume = observed.named
    assert volume is not None, "a claim without its volume is lost"
    return _bind(desired, volume)


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    if any(isinstance(a, Update) and a.resource == CLAIMS for a in outcome.plan.actions):
        return None  # the claim has changed under us: the next pass, which that wakes, reports
    stored: Status = desired.get("status") or {}
    if BIND_COMPLETED not in annotations_of(desired):
        return {**stored, "phase": "Pending"}
    if _loss(desired, observed) is not None:
        return {**stored, "phase": "Lost"}
    volume = observed.named
    assert volume is not None, "a claim without its volume is lost"
    new: Status = {**stored, "phase": "Bound", "accessModes": volume["spec"].get("accessModes") or []}
    if stored.get("phase") != "Bound" or "capacity" not in stored:
        # Later the capacity follows the file system, which whoever resizes it reports.
        new["capacity"] = volume["spec"].get("capacity") or {}
    return new

"""One volume: whether it is available, bound or released. Whoever made a volume with policy Delete removes it.

Upstream: pkg/controller/volume/persistentvolume/pv_controller.go (syncVolume).
"""

from __future__ import annotations

from timonel.control.actions import Action, Outcome, Plan, Record, Status, Update
from timonel.control.declare import Cache
from timonel.controllers.persistentvolume_binder.claims import BOUND_BY_CONTROLLER, CLAIMS, VOLUMES
from timonel.objects.meta import Key, Object, annotations_of, format_time, is_deleting, uid_of
from timonel.records import dataclass

PROVISIONED_BY, MIGRATED_TO = "pv.kubernetes.io/provisioned-by", "pv.kubernetes.io/migrated-to"
BUILT_IN = "kubernetes.io/"  # provisioners of which there are none here


@dataclass(frozen=True, slots=True)
class Observed:
    """`claim`: the one that the volume names, if it is still the same."""

    claim: Object | None
    now: float


def observe(desired: Object, cache: Cache) -> Observed:
    ref = desired["spec"].get("claimRef")
    claim = None
    if ref:
        claim = cache.get(CLAIMS, Key(ref.get("namespace", ""), ref.get("name", "")))
        if claim is not None and ref.get("uid") and uid_of(claim) != ref["uid"]:
            claim = None
    return Observed(claim, cache.now())


def phase(desired: Object, observed: Observed) -> str:
    ref = desired["spec"].get("claimRef")
    if not ref or not ref.get("uid"):
        return "Available"
    if observed.claim is None:
        return "Failed" if _failure(desired)[0] else "Released"
    wanted = observed.claim["spec"].get("volumeName")
    if wanted == desired["metadata"]["name"]:
        return "Bound"
    kept = (desired.get("status") or {}).get("phase") or "Pending"
    return "Released" if wanted and _reclaim(desired) == "Delete" else str(kept)


def _reclaim(desired: Object) -> str:
    return str(desired["spec"].get("persistentVolumeReclaimPolicy") or "Retain")


def _failure(desired: Object) -> tuple[str, str]:
    """(reason, message) when nobody can do with a released volume what its policy says; else empty."""
    noted = annotations_of(desired)
    policy, by = _reclaim(desired), noted.get(PROVISIONED_BY, "")
    if policy == "Recycle":
        return "VolumeFailedRecycle", "Recycling of volumes is not supported: use dynamic provisioning"
    if policy == "Delete" and MIGRATED_TO not in noted and (not by or by.startswith(BUILT_IN)):
        text = f'error getting deleter volume plugin for volume "{desired["metadata"]["name"]}"'
        return "VolumeFailedDelete", f"{text}: no deletable volume plugin matched"
    return "", ""


def reconcile(desired: Object, observed: Observed) -> Plan:
    before = (desired.get("status") or {}).get("phase")
    if is_deleting(desired):
        return Plan()
    now = phase(desired, observed)
    if now == "Failed" and before != "Failed":
        return Plan((Record("Warning", *_failure(desired)),))
    wanted = (observed.claim or {}).get("spec", {}).get("volumeName")
    if wanted and wanted != desired["metadata"]["name"] and PROVISIONED_BY not in annotations_of(desired):
        return Plan((_unbind(desired),))
    return Plan()


def _unbind(desired: Object) -> Action:
    """Its claim has chosen another volume: free again, but for the name that its user reserved it under."""
    noted, spec = dict(annotations_of(desired)), dict(desired["spec"])
    if noted.pop(BOUND_BY_CONTROLLER, None):
        del spec["claimRef"]
    else:
        spec["claimRef"] = {k: v for k, v in spec["claimRef"].items() if k not in ("uid", "resourceVersion")}
    meta = {**desired["metadata"], "annotations": noted}
    return Update(VOLUMES, {**desired, "metadata": meta, "spec": spec})


def status(desired: Object, observed: Observed, outcome: Outcome) -> Status | None:
    stored: Status = desired.get("status") or {}
    if any(isinstance(a, Update) for a in outcome.plan.actions):
        return None
    now = phase(desired, observed)
    if stored.get("phase") == now:
        return stored
    new = {k: v for k, v in stored.items() if k not in ("message", "reason")}
    if now == "Failed":
        new["message"] = _failure(desired)[1]
    return {**new, "phase": now, "lastPhaseTransitionTime": format_time(observed.now)}

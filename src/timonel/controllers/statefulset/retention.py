"""persistentVolumeClaimRetentionPolicy: who owns a claim, so that the garbage collector deletes it in time.

Upstream: pkg/controller/statefulset/stateful_set_utils.go (updateClaimOwnerRefForSetAndPod).
"""

from __future__ import annotations

from typing import Any

from timonel.objects.meta import Object, controller_ref


def owners(
    statefulset: Object, claim: Object, pod: Object, *, condemned: bool
) -> list[dict[str, Any]] | None:
    """The owner references the claim should have, or None when they are right or not ours to change.

    `pod` may be one that is yet to be created.
    """
    refs: list[dict[str, Any]] = claim["metadata"].get("ownerReferences") or []
    ours = (("apps/v1", "StatefulSet", statefulset), ("v1", "Pod", pod))
    if any(_names(ref, *one) and ref["uid"] != one[2]["metadata"].get("uid") for ref in refs for one in ours):
        return None  # left behind by a namesake: the garbage collector will see to it
    others = [ref for ref in refs if not any(_names(ref, *one) for one in ours)]
    deletes = {name for name in ("whenScaled", "whenDeleted") if _policy(statefulset).get(name) == "Delete"}
    if deletes and any(ref.get("controller") for ref in others):
        return others if others != refs else None
    wanted = others
    if "whenScaled" in deletes and condemned:
        wanted = [*others, controller_ref({"apiVersion": "v1", "kind": "Pod", **pod})]
    elif "whenDeleted" in deletes:
        wanted = [*others, controller_ref(statefulset)]
    return wanted if _essence(wanted) != _essence(refs) else None


def has_stale(statefulset: Object, claim: Object, pod_name: str) -> bool:
    """The claim goes with a pod of that name that is gone already: a new one must wait for a new claim."""
    named = {"metadata": {"name": pod_name}}
    refs = claim["metadata"].get("ownerReferences") or ()
    return _policy(statefulset).get("whenScaled") == "Delete" and any(
        _names(ref, "v1", "Pod", named) for ref in refs
    )


def _policy(statefulset: Object) -> dict[str, str]:
    found: dict[str, str] = statefulset["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return found


def _names(ref: dict[str, Any], version: str, kind: str, obj: Object) -> bool:
    return (ref["apiVersion"], ref["kind"], ref["name"]) == (version, kind, obj["metadata"]["name"])


def _essence(refs: list[dict[str, Any]]) -> set[tuple[str, bool]]:
    return {(ref["uid"], bool(ref.get("controller"))) for ref in refs}

"""persistentVolumeClaimRetentionPolicy: who owns a claim, so that the garbage collector deletes it in time.

Upstream: pkg/controller/statefulset/stateful_set_utils.go (updateClaimOwnerRefForSetAndPod).
"""

from __future__ import annotations

from typing import Any

from timonel.objects.meta import Object, controller_of, controller_ref


def owners(
    statefulset: Object, claim: Object, pod: Object | None, *, condemned: bool
) -> list[dict[str, Any]] | None:
    """The owner references the claim should have, or None when they are right (or another controller has it)."""
    policy = statefulset["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    by_scaling = policy.get("whenScaled") == "Delete" and condemned and pod is not None
    by_deletion = policy.get("whenDeleted") == "Delete" and not by_scaling
    refs: list[dict[str, Any]] = claim["metadata"].get("ownerReferences") or []
    ours = {statefulset["metadata"]["uid"]} | ({pod["metadata"]["uid"]} if pod is not None else set())
    controller = controller_of(claim)
    if controller is not None and controller["uid"] not in ours and controller["kind"] != "Pod":
        return None
    wanted: list[dict[str, Any]] = [r for r in refs if r["uid"] not in ours]
    if by_deletion:
        wanted.append(controller_ref(statefulset))
    if by_scaling and pod is not None:
        wanted.append(controller_ref({"apiVersion": "v1", "kind": "Pod", **pod}))
    return wanted if {r["uid"] for r in wanted} != {r["uid"] for r in refs} else None

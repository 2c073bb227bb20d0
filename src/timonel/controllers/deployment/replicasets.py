"""The ReplicaSets of a Deployment: which is the new one, their revisions, how one is made and changed.

Upstream: pkg/controller/deployment/sync.go (getNewReplicaSet), util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from timonel.control.actions import Action, Delete, Patch, Record
from timonel.controllers.deployment import sizes
from timonel.objects import workloads
from timonel.objects.meta import Object, annotations_of, controller_ref, is_deleting, key_of, uid_of

RESOURCE = "replicasets.apps"
DEPLOYMENTS = "deployments.apps"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
ROLLBACK = "deprecated.deployment.rollback.to"
# Upper bound of the history annotation, in characters.
HISTORY_LENGTH = 2000
NO_LIMIT = 2**31 - 1
# What of the Deployment's name fits before a hash of up to ten characters.
LONGEST_NAME = 242
NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    sizes.DESIRED_REPLICAS,
    sizes.MAX_REPLICAS,
    ROLLBACK,
}


def find_new(deployment: Object, sets: Iterable[Object]) -> Object | None:
    """The oldest set with the Deployment's template; several can match after a rollback from an old version."""
    template = deployment["spec"]["template"]
    same = (
        rs for rs in sizes.oldest_first(sets) if workloads.is_same_template(rs["spec"]["template"], template)
    )
    return next(same, None)


def find_old(new: Object | None, sets: Iterable[Object]) -> list[Object]:
    return [rs for rs in sets if new is None or rs["metadata"]["uid"] != new["metadata"]["uid"]]


def active(sets: Iterable[Object]) -> list[Object]:
    return [rs for rs in sets if sizes.replicas_of(rs) > 0]


def revision_of(rs: Object) -> int:
    return sizes.annotated(rs, REVISION) or 0


def next_revision(old: Iterable[Object]) -> int:
    return max(map(revision_of, old), default=0) + 1


def size_annotations(deployment: Object) -> dict[str, str]:
    return {
        sizes.DESIRED_REPLICAS: str(sizes.replicas_of(deployment)),
        sizes.MAX_REPLICAS: str(sizes.max_replicas(deployment)),
    }


def build(deployment: Object, old: Sequence[Object]) -> Object:
    spec = deployment["spec"]
    hashed = workloads.stable_hash(spec["template"], (deployment.get("status") or {}).get("collisionCount"))
    template = workloads.copy_tree(spec["template"])
    meta = template.setdefault("metadata", {})
    meta["labels"] = {**(meta.get("labels") or {}), workloads.POD_TEMPLATE_HASH: hashed}
    selector = workloads.copy_tree(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), workloads.POD_TEMPLATE_HASH: hashed}
    copied = {k: v for k, v in annotations_of(deployment).items() if k not in NOT_COPIED}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{deployment['metadata']['name'][:LONGEST_NAME]}-{hashed}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": dict(meta["labels"]),
            "annotations": {**copied, REVISION: str(next_revision(old)), **size_annotations(deployment)},
            "ownerReferences": [controller_ref(deployment)],
        },
        "spec": {
            "replicas": sizes.new_set_size(deployment, old, 0),
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            "selector": selector,
            "template": template,
        },
    }


def refresh(deployment: Object, new: Object, old: Sequence[Object]) -> list[Action]:
    """Bring the existing new set's annotations and minReadySeconds up to date."""
    changed = _changed_annotations(deployment, new, next_revision(old))
    patch: dict[str, Any] = {}
    if changed:
        patch["metadata"] = {"annotations": changed}
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    if new["spec"].get("minReadySeconds", 0) != min_ready:
        patch["spec"] = {"minReadySeconds": min_ready}
    return [Patch(RESOURCE, key_of(new), patch, uid=uid_of(new))] if patch else []


def _changed_annotations(deployment: Object, new: Object, revision: int) -> dict[str, str]:
    have = annotations_of(new)
    changed = {
        k: v for k, v in annotations_of(deployment).items() if k not in NOT_COPIED and have.get(k) != v
    }
    was = have.get(REVISION)
    if revision_of(new) < revision:
        changed[REVISION] = str(revision)
        if was is not None:
            changed[REVISION_HISTORY] = _longer_history(have.get(REVISION_HISTORY, ""), was)
    return changed


def _longer_history(history: str, revision: str) -> str:
    revisions = [*(history.split(",") if history else ()), revision]
    while len(revisions) > 1 and len(",".join(revisions)) > HISTORY_LENGTH:
        revisions.pop(0)
    return ",".join(revisions)


def resize(deployment: Object, rs: Object, size: int) -> list[Action]:
    """Scale one set and note on it what it was scaled for; nothing when all is so already."""
    noted = {k: v for k, v in size_annotations(deployment).items() if annotations_of(rs).get(k) != v}
    current = sizes.replicas_of(rs)
    if size == current and not noted:
        return []
    patch: dict[str, Any] = {"spec": {"replicas": size}}
    if noted:
        patch["metadata"] = {"annotations": noted}
    actions: list[Action] = [Patch(RESOURCE, key_of(rs), patch, uid=uid_of(rs))]
    if size != current:
        actions.append(scaled_event(rs["metadata"]["name"], current, size))
    return actions


def scaled_event(name: str, current: int, size: int) -> Record:
    way = "up" if size > current else "down"
    return Record("Normal", "ScalingReplicaSet", f"Scaled {way} replica set {name} from {current} to {size}")


def superfluous(deployment: Object, old: Iterable[Object]) -> list[Action]:
    """Delete the oldest revisions beyond revisionHistoryLimit that hold no pods."""
    limit = deployment["spec"].get("revisionHistoryLimit", NO_LIMIT)
    if limit == NO_LIMIT:
        return []
    alive = sorted((rs for rs in old if not is_deleting(rs)), key=revision_of)
    return [
        Delete(RESOURCE, key_of(rs), uid_of(rs))
        for rs in alive[: max(0, len(alive) - limit)]
        if not sizes.replicas_of(rs) and not sizes.status_count(rs, "replicas") and _is_observed(rs)
    ]


def _is_observed(rs: Object) -> bool:
    seen = sizes.status_count(rs, "observedGeneration")
    generation: int = rs["metadata"].get("generation", 0)
    return seen >= generation

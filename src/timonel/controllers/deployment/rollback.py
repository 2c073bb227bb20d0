"""A rollback that an annotation asks for, as the retired API versions do; kubectl changes the template itself.

Upstream: pkg/controller/deployment/rollback.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from timonel.control.actions import Action, Record, Update
from timonel.controllers.deployment import replicasets
from timonel.objects import workloads
from timonel.objects.meta import Object, annotations_of


def revision_asked_for(deployment: Object) -> int | None:
    """0 asks for the last one before the current; None: nothing is asked for."""
    text = annotations_of(deployment).get(replicasets.ROLLBACK, "")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def back(deployment: Object, sets: Sequence[Object], revision: int) -> list[Action]:
    """The Deployment as it is to be, without the annotation, and what is said about it."""
    if revision == 0:
        revision = _last_but_one(sets)
        if revision == 0:
            return _given_up(deployment, "Unable to find last revision.")
    found = next((rs for rs in sets if replicasets.revision_of(rs) == revision), None)
    if found is None:
        return _given_up(deployment, "Unable to find the revision to rollback to.")
    name = deployment["metadata"]["name"]
    if workloads.is_same_template(found["spec"]["template"], deployment["spec"]["template"]):
        text = f'The rollback revision contains the same template as current deployment "{name}"'
        told = Record("Warning", "DeploymentRollbackTemplateUnchanged", text)
        return [told, Update(replicasets.DEPLOYMENTS, _cleared(deployment))]
    template = workloads.without_label(found["spec"]["template"], workloads.POD_TEMPLATE_HASH)
    # Its annotations come back with it: those of now belong to the template of now.
    own = {k: v for k, v in annotations_of(deployment).items() if k in replicasets.NOT_COPIED}
    theirs = {k: v for k, v in annotations_of(found).items() if k not in replicasets.NOT_COPIED}
    meta = {**deployment["metadata"], "annotations": {**own, **theirs}}
    rolled = {**deployment, "metadata": meta, "spec": {**deployment["spec"], "template": template}}
    text = f'Rolled back deployment "{name}" to revision {revision}'
    return [
        Update(replicasets.DEPLOYMENTS, _cleared(rolled)),
        Record("Normal", "DeploymentRollback", text),
    ]


def _last_but_one(sets: Sequence[Object]) -> int:
    revisions = sorted(map(replicasets.revision_of, sets), reverse=True)
    return revisions[1] if len(revisions) > 1 else 0


def _given_up(deployment: Object, text: str) -> list[Action]:
    told = Record("Warning", "DeploymentRollbackRevisionNotFound", text)
    return [told, Update(replicasets.DEPLOYMENTS, _cleared(deployment))]


def _cleared(deployment: Object) -> Object:
    kept = {k: v for k, v in annotations_of(deployment).items() if k != replicasets.ROLLBACK}
    return {**deployment, "metadata": {**deployment["metadata"], "annotations": kept}}

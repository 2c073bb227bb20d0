"""ControllerRevisions: the stored history of a DaemonSet's or StatefulSet's template.

Upstream: pkg/controller/history/controller_history.go, daemon/update.go, statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timonel.objects import workloads
from timonel.objects.meta import Object, annotations_of, controller_ref, labels_of

RESOURCE = "controllerrevisions.apps"
HASH_LABEL = "controller.kubernetes.io/hash"


def data_of(template: Object) -> dict[str, Any]:
    """What a revision holds: the strategic-merge patch that brings this template back.

    Its keys are sorted: clients compare the text with one of their own.
    """
    sorted_: dict[str, Any] = _sorted({"spec": {"template": {**template, "$patch": "replace"}}})
    return sorted_


def _sorted(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _sorted(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list):
        return [_sorted(part) for part in tree]
    return tree


def template_of(revision: Object) -> Object:
    template = dict(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def hash_of(obj: Object) -> str:
    return labels_of(obj).get(workloads.CONTROLLER_REVISION_HASH, "")


def number_of(revision: Object) -> int:
    found: int = revision.get("revision", 0)
    return found


def oldest_first(revisions: Iterable[Object]) -> list[Object]:
    return sorted(
        revisions,
        key=lambda r: (number_of(r), r["metadata"].get("creationTimestamp", ""), r["metadata"]["name"]),
    )


def next_number(revisions: Iterable[Object]) -> int:
    return max(map(number_of, revisions), default=0) + 1


def build(owner: Object, template: Object, number: int, *, label: str) -> Object:
    """A new revision of the owner; its status.collisionCount enters the hash, which `label` shows."""
    data = data_of(template)
    hashed = workloads.stable_hash(data, (owner.get("status") or {}).get("collisionCount"))
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    meta: Object = {
        "name": f"{owner['metadata']['name'][:223]}-{hashed}",
        "namespace": owner["metadata"]["namespace"],
        "labels": {**labels, label: hashed},
        "ownerReferences": [controller_ref(owner)],
    }
    if annotations_of(owner):
        meta["annotations"] = dict(annotations_of(owner))
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": meta,
        "data": data,
        "revision": number,
    }

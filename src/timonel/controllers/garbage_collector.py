"""Garbage collector: objects whose owners are gone follow them; deletion in the foreground and orphaning.

Watches   the metadata of every resource that can be deleted and watched, Events apart
Writes    any of them: deletes dependents, removes owner references and the finalizers orphan and foregroundDeletion
Upstream  pkg/controller/garbagecollector/garbagecollector.go, graph_builder.go
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timonel.control.actions import Action, Delete, Patch, Plan, Record
from timonel.control.declare import Family, GraphControllerType, Node, OwnerState
from timonel.objects.meta import is_deleting, key_of

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"


def reconcile(item: Node, family: Family) -> Plan:
    meta = item.obj["metadata"]
    finalizers = meta.get("finalizers") or ()
    if is_deleting(item.obj):
        if ORPHAN in finalizers:
            return _orphan(item, family)
        if FOREGROUND in finalizers and not any(_blocks(d, meta["uid"]) for d in family.dependents):
            return Plan((_without_finalizer(item, FOREGROUND),))
        return Plan()
    refs = meta.get("ownerReferences") or ()
    states = [family.owners[ref["uid"]] for ref in refs]
    if not refs:
        return Plan()
    told = _complaints(item, family)
    if OwnerState.INVALID in states:
        return Plan((*told,))
    if OwnerState.SOLID in states:
        kept = [ref for ref, state in zip(refs, states, strict=True) if state is OwnerState.SOLID]
        return Plan((*told, _with_owners(item, kept))) if len(kept) < len(refs) else Plan()
    if OwnerState.WAITING in states and family.dependents:
        return _pass_on_the_wait(item, family)
    return Plan((*told, _delete(item, _propagation(finalizers))))


def _pass_on_the_wait(item: Node, family: Family) -> Plan:
    """An owner waits for this object, which has dependents of its own: delete it in the foreground too."""
    actions: list[Action] = []
    if any(_is_waiting(d) for d in family.dependents):
        # A circle would wait for itself: let the owner go ahead of this object.
        refs = [
            {k: v for k, v in ref.items() if k != "blockOwnerDeletion"}
            for ref in item.obj["metadata"]["ownerReferences"]
        ]
        actions.append(_with_owners(item, refs))
        return Plan((*actions, _delete(item, "Foreground", pinned=False)))
    return Plan((_delete(item, "Foreground"),))


def _orphan(item: Node, family: Family) -> Plan:
    uid = item.obj["metadata"]["uid"]
    freed = [
        _with_owners(d, [r for r in d.obj["metadata"].get("ownerReferences") or () if r["uid"] != uid])
        for d in family.dependents
    ]
    return Plan((*freed, _without_finalizer(item, ORPHAN)))


def _complaints(item: Node, family: Family) -> list[Action]:
    meta = item.obj["metadata"]
    namespace = meta.get("namespace", "")
    found: list[Action] = []
    for ref in meta.get("ownerReferences") or ():
        if ref["uid"] in family.elsewhere:
            shown = f"{ref['apiVersion']}/{ref['kind']}, namespace: {namespace}, name: {ref['name']}"
            message = f'ownerRef [{shown}, uid: {ref["uid"]}] does not exist in namespace "{namespace}"'
            found.append(Record("Warning", "OwnerRefInvalidNamespace", message, about=item.obj))
    return found


def _is_waiting(node: Node) -> bool:
    return is_deleting(node.obj) and FOREGROUND in (node.obj["metadata"].get("finalizers") or ())


def _blocks(dependent: Node, uid: str) -> bool:
    refs = dependent.obj["metadata"].get("ownerReferences") or ()
    return any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in refs)


def _propagation(finalizers: Any) -> str:
    """Respect what the object was asked to do with its own dependents."""
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def _delete(item: Node, propagation: str, *, pinned: bool = True) -> Delete:
    """`pinned` refuses an object that was changed since it was read: it may have been adopted."""
    meta = item.obj["metadata"]
    version = meta.get("resourceVersion", "") if pinned else ""
    return Delete(
        item.resource, key_of(item.obj), meta["uid"], resource_version=version, propagation=propagation
    )


def _with_owners(item: Node, refs: Sequence[Mapping[str, Any]]) -> Patch:
    return _patch(item, {"ownerReferences": refs or None})


def _without_finalizer(item: Node, finalizer: str) -> Patch:
    left = [f for f in item.obj["metadata"].get("finalizers") or () if f != finalizer]
    return _patch(item, {"finalizers": left or None})


def _patch(item: Node, changes: Mapping[str, Any]) -> Patch:
    meta = item.obj["metadata"]
    patch = {"metadata": {**changes, "resourceVersion": meta["resourceVersion"]}}
    return Patch(item.resource, key_of(item.obj), patch, uid=meta["uid"], missing_ok=True)


GARBAGE_COLLECTOR = GraphControllerType(
    name="generic-garbage-collector",
    reconcile=reconcile,
    ignored=frozenset({"events", "events.events.k8s.io"}),
)

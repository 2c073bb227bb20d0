"""Ephemeral volumes: a claim for each volume of a pod that brings its own template, owned by the pod.

Watches   pods; persistentvolumeclaims (wake the pod that controls them, or that waits for their name)
Writes    persistentvolumeclaims (create)
Upstream  pkg/controller/volume/ephemeral/controller.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from timonel.control.actions import Action, Create, Plan, Record, Told
from timonel.control.declare import Cache, ControllerType, Watch
from timonel.objects.ephemeral import claim_name, whose_else
from timonel.objects.meta import (
    Key,
    Object,
    controller_of,
    controller_ref,
    is_deleting,
    key_of,
    nested,
)
from timonel.objects.workloads import copy_tree

CLAIMS = "persistentvolumeclaims"


def templates(pod: Object) -> Iterator[tuple[Object, Object]]:
    """The pod's volumes that have a template, with it."""
    for volume in nested(pod, "spec", "volumes") or ():
        template = nested(volume, "ephemeral", "volumeClaimTemplate")
        if template:
            yield volume, template


def claim_key(pod: Object, volume: Object) -> Key:
    return Key(pod["metadata"]["namespace"], claim_name(pod, volume))


def observe(desired: Object, cache: Cache) -> Mapping[Key, Object | None]:
    return {key: cache.get(CLAIMS, key) for key in (claim_key(desired, v) for v, _ in templates(desired))}


def reconcile(desired: Object, found: Mapping[Key, Object | None]) -> Plan:
    if is_deleting(desired):
        return Plan()
    actions: list[Action] = []
    for volume, template in templates(desired):
        key = claim_key(desired, volume)
        claim = found[key]
        if claim is None:
            failed = Told("FailedBinding", f"ephemeral volume {volume['name']}: create PVC {key.name}: ")
            actions.append(Create(CLAIMS, _claim(desired, key, template), failed=failed))
        elif why := whose_else(claim, desired):
            return Plan(
                (*actions, Record("Warning", "FailedBinding", f"ephemeral volume {volume['name']}: {why}"))
            )
    return Plan(tuple(actions))


def _claim(pod: Object, key: Key, template: Object) -> Object:
    made_from = template.get("metadata") or {}
    kept = {part: copy_tree(made_from[part]) for part in ("labels", "annotations") if made_from.get(part)}
    owner = controller_ref({"apiVersion": "v1", "kind": "Pod", **pod})
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": key.name, "namespace": key.namespace, **kept, "ownerReferences": [owner]},
        "spec": copy_tree(template["spec"]),
    }


def _pods_with_templates(pod: Object, cache: Cache) -> Iterable[Key]:
    return (key_of(pod),) if any(True for _ in templates(pod)) else ()


def _its_pods(claim: Object, cache: Cache) -> Iterable[Key]:
    """Who controls it; a claim of another's that stands in the way concerns whoever wants its name."""
    owner, key = controller_of(claim), key_of(claim)
    if owner is not None and owner["kind"] == "Pod":
        return (Key(key.namespace, owner["name"]),)
    parts = key.name.split("-")
    named = (Key(key.namespace, "-".join(parts[:n])) for n in range(1, len(parts)))
    return [name for name in named if cache.get("pods", name) is not None]


EPHEMERAL_VOLUME = ControllerType(
    name="ephemeral-volume-controller",
    component="ephemeral_volume",
    watches=(Watch("pods", wakes=_pods_with_templates), Watch(CLAIMS, wakes=_its_pods)),
    observe=observe,
    reconcile=reconcile,
)

"""What the workload controllers share: claims on objects, pods from templates, template hashes.

Upstream: pkg/controller/controller_ref_manager.go, controller_utils.go, pkg/util/hash, apimachinery/pkg/util/rand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from timonel.machinery import selectors
from timonel.objects.meta import Object, controller_of, controller_ref, is_deleting, labels_of
from timonel.records import dataclass

Matches = Callable[[dict[str, str]], bool]

POD_TEMPLATE_HASH = "pod-template-hash"
CONTROLLER_REVISION_HASH = "controller-revision-hash"
# Upstream's alphabet for generated names: no vowels, no look-alikes.
SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def selector_of(workload: Object) -> selectors.LabelSelector:
    """The pods that a workload's `spec.selector` means; the oldest kinds have a plain map there."""
    selector = (workload.get("spec") or {}).get("selector")
    if workload.get("kind") in ("ReplicationController", "Service"):
        return selectors.from_map(selector or {})
    return selectors.from_label_selector(selector)


@dataclass(frozen=True, slots=True)
class Claim:
    """`owned` are the objects to work with, those to adopt included; `release` no longer match the selector."""

    owned: tuple[Object, ...]
    adopt: tuple[Object, ...] = ()
    release: tuple[Object, ...] = ()


def claim(owner: Object, matches: Matches, candidates: Iterable[Object]) -> Claim:
    """Which of the candidates (duplicates allowed) the owner controls, should adopt and should let go."""
    owned: list[Object] = []
    adopt: list[Object] = []
    release: list[Object] = []
    uid = owner["metadata"]["uid"]
    leaving = is_deleting(owner)
    seen: set[str] = set()
    for obj in candidates:
        if obj["metadata"]["uid"] in seen:
            continue
        seen.add(obj["metadata"]["uid"])
        ref = controller_of(obj)
        if ref is not None:
            if ref["uid"] != uid:
                continue
            if matches(labels_of(obj)):
                owned.append(obj)
            elif not leaving:
                release.append(obj)
        elif not leaving and not is_deleting(obj) and matches(labels_of(obj)):
            owned.append(obj)
            adopt.append(obj)
    return Claim(tuple(owned), tuple(adopt), tuple(release))


def copy_tree(tree: Any) -> Any:
    """A deep copy of a JSON tree, several times faster than copy.deepcopy."""
    if isinstance(tree, dict):
        return {k: copy_tree(v) for k, v in tree.items()}
    if isinstance(tree, list):
        return [copy_tree(v) for v in tree]
    return tree


def pod_from_template(template: Object, owner: Object, *, name: str = "") -> Object:
    """A Pod of `owner`; without a name the server makes one up from the owner's."""
    made_from = template.get("metadata") or {}
    meta: Object = {"name": name} if name else {"generateName": owner["metadata"]["name"] + "-"}
    meta["namespace"] = owner["metadata"]["namespace"]
    for part in ("labels", "annotations", "finalizers"):
        if made_from.get(part):
            meta[part] = copy_tree(made_from[part])
    meta["ownerReferences"] = [controller_ref(owner)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": copy_tree(template.get("spec") or {}),
    }


def safe_encode(text: str) -> str:
    return "".join(SAFE_ALPHABET[ord(c) % len(SAFE_ALPHABET)] for c in text)


def stable_hash(tree: Any, collision_count: int | None = None) -> str:
    """A short name-safe hash of a JSON tree. `collision_count` gives the next one after a clash of names."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    if collision_count is not None:
        text += str(collision_count)
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
    return safe_encode(str(number))


def without_label(template: Object, label: str) -> Object:
    """The template without one label, sharing everything else."""
    meta = template.get("metadata") or {}
    if label not in (meta.get("labels") or {}):
        return template
    rest = {k: v for k, v in meta["labels"].items() if k != label}
    slim = {k: v for k, v in meta.items() if k != "labels"}
    return {**template, "metadata": {**slim, "labels": rest} if rest else slim}


def is_same_template(a: Object, b: Object, label: str = POD_TEMPLATE_HASH) -> bool:
    """Equal apart from the label that tells their hash."""
    first, second = without_label(a, label), without_label(b, label)
    return _meta(first) == _meta(second) and first.get("spec") == second.get("spec")


def _meta(template: Object) -> Object:
    return {k: v for k, v in (template.get("metadata") or {}).items() if v and k != "creationTimestamp"}

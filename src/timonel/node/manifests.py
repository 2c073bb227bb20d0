"""Static pods: what the files of a directory of the node say, as pods, and what the API server is shown of them. Pure.

A static pod's uid is a hash of its node, file and text, so that another text is another pod and the same one is found
again after a restart. Upstream: pkg/kubelet/config/{file.go,common.go}, pkg/kubelet/pod/mirror_client.go.
"""

from __future__ import annotations

import hashlib
from typing import Any

from timonel.objects.meta import Object, annotations_of, format_time

SOURCE, HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"
SEEN, MIRROR = "kubernetes.io/config.seen", "kubernetes.io/config.mirror"
PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


class BadManifest(Exception):
    """The file describes no pod that could run."""


def static_pod(text: str, *, file: str, node: str, now: float) -> Object:
    """The pod that a manifest describes, on this node. Raises BadManifest."""
    pod = _parsed(text)
    meta = pod["metadata"]
    if not meta.get("name"):
        raise BadManifest("metadata.name: Required value")
    uid = hashlib.md5(f"{node} {file} {text}".encode(), usedforsecurity=False).hexdigest()
    meta["uid"] = uid
    meta["name"] = f"{meta['name']}-{node.lower()}"
    meta.setdefault("namespace", "default")
    told = {HASH: uid, SOURCE: "file", SEEN: format_time(now)}
    meta["annotations"] = {**(meta.get("annotations") or {}), **told}
    meta["creationTimestamp"] = format_time(now)
    spec = pod["spec"]
    spec["nodeName"] = node
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    if spec.get("priorityClassName") in PRIORITIES:
        spec.setdefault("priority", PRIORITIES[spec["priorityClassName"]])
    pod["status"] = {"phase": "Pending"}
    _complete(pod)
    return pod


def _parsed(text: str) -> Object:
    import yaml  # here: most nodes have no manifests

    try:
        found: Any = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as e:
        raise BadManifest(f"couldn't parse as pod: {e}") from e
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != ("v1", "Pod"):
        raise BadManifest("couldn't parse as pod: not a v1 Pod")
    if not isinstance(found.get("metadata"), dict) or not isinstance(found.get("spec"), dict):
        raise BadManifest("couldn't parse as pod: metadata and spec are required")
    return found


def _complete(pod: Object) -> None:
    """With defaults, and checked, as the API server would."""
    from timonel.apis.core.pod import POD  # here: most nodes have no manifests

    try:
        POD.default(pod)
        causes = list(POD.validate(pod))
    except (KeyError, TypeError, ValueError, AttributeError) as e:  # its shape is not a pod's
        raise BadManifest(f"couldn't parse as pod: {e}") from e
    if causes:
        raise BadManifest("; ".join(f"{c.field}: {c.message}" for c in causes))


def mirror_of(pod: Object, node: Object) -> Object:
    """What the API server is shown of a static pod."""
    meta = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "controller": True}
    if node["metadata"].get("uid"):
        owner["uid"] = node["metadata"]["uid"]
    shown = {k: meta[k] for k in ("name", "namespace", "labels") if meta.get(k)}
    shown["annotations"] = {**meta["annotations"], MIRROR: meta["annotations"][HASH]}
    shown["ownerReferences"] = [owner]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": shown, "spec": pod["spec"]}


def is_static(pod: Object) -> bool:
    return bool(annotations_of(pod).get(SOURCE, "api") != "api") and not is_mirror(pod)


def is_mirror(pod: Object) -> bool:
    return MIRROR in annotations_of(pod)


def is_mirror_of(mirror: Object, pod: Object) -> bool:
    """Whether it shows this pod, and not what its file said before."""
    return bool(annotations_of(mirror).get(MIRROR) == pod["metadata"]["uid"])

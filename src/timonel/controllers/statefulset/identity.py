"""What makes a StatefulSet's pod that pod: its ordinal, name, host name, labels and claims.

Upstream: pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from timonel.objects import workloads
from timonel.objects.meta import Key, Object, labels_of, nested

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_MEMBER = re.compile(r"(.*)-([0-9]{1,10})")
HIGHEST = 2**31


def start_of(statefulset: Object) -> int:
    return int(nested(statefulset, "spec", "ordinals", "start") or 0)


def ordinals(statefulset: Object) -> range:
    start = start_of(statefulset)
    return range(start, start + statefulset["spec"].get("replicas", 1))


def ordinal_of(statefulset: Object, pod: Object) -> int | None:
    """None for a pod whose name is not one of this set's."""
    match = _MEMBER.fullmatch(pod["metadata"]["name"])
    if match is None or match[1] != statefulset["metadata"]["name"]:
        return None
    ordinal = int(match[2])
    # such as web-007, which is not the name of any ordinal
    return ordinal if str(ordinal) == match[2] and ordinal < HIGHEST else None


def claim_templates(statefulset: Object) -> list[Object]:
    found: list[Object] = statefulset["spec"].get("volumeClaimTemplates") or []
    return found


def claim_name(statefulset: Object, template: Object, ordinal: int) -> str:
    return f"{template['metadata']['name']}-{statefulset['metadata']['name']}-{ordinal}"


def claim_keys(statefulset: Object, ordinal: int) -> Iterable[Key]:
    namespace = statefulset["metadata"]["namespace"]
    return [Key(namespace, claim_name(statefulset, t, ordinal)) for t in claim_templates(statefulset)]


def is_claim_of(statefulset: Object, name: str) -> bool:
    """Whether a claim has a name as this set's claims have."""
    match = _MEMBER.fullmatch(name)
    who = statefulset["metadata"]["name"]
    return match is not None and any(
        match[1] == f"{t['metadata']['name']}-{who}" for t in claim_templates(statefulset)
    )


def claims_for(statefulset: Object, ordinal: int) -> list[Object]:
    selector = nested(statefulset, "spec", "selector", "matchLabels") or {}
    claims = []
    for template in claim_templates(statefulset):
        claim = workloads.copy_tree(template)
        claim.update({"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
        claim.pop("status", None)
        meta = claim["metadata"]
        meta.update(
            name=claim_name(statefulset, template, ordinal), namespace=statefulset["metadata"]["namespace"]
        )
        if selector or meta.get("labels"):
            meta["labels"] = {**(meta.get("labels") or {}), **selector}
        claims.append(claim)
    return claims


def identity_labels(name: str, ordinal: int) -> dict[str, str]:
    return {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}


def missing_labels(pod: Object, ordinal: int) -> dict[str, str]:
    """Both, when it lacks the one that tells its name."""
    have = labels_of(pod)
    wanted = identity_labels(pod["metadata"]["name"], ordinal)
    if have.get(POD_NAME_LABEL) == wanted[POD_NAME_LABEL]:
        return {}
    return {k: v for k, v in wanted.items() if have.get(k) != v}


def pod_for(statefulset: Object, template: Object, ordinal: int, revision: str) -> Object:
    name = f"{statefulset['metadata']['name']}-{ordinal}"
    pod = workloads.pod_from_template(template, statefulset, name=name)
    labels = pod["metadata"].setdefault("labels", {})
    labels.update(identity_labels(name, ordinal))
    labels[workloads.CONTROLLER_REVISION_HASH] = revision
    spec = pod["spec"]
    spec["hostname"] = name
    if statefulset["spec"].get("serviceName"):
        spec["subdomain"] = statefulset["spec"]["serviceName"]
    claimed = [
        {
            "name": t["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(statefulset, t, ordinal)},
        }
        for t in claim_templates(statefulset)
    ]
    names = {v["name"] for v in claimed}
    volumes = [*claimed, *(v for v in spec.get("volumes") or () if v["name"] not in names)]
    if volumes:
        spec["volumes"] = volumes
    return pod

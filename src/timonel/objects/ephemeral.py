"""Generic ephemeral volumes: a claim is a pod's own only if the pod controls it; its name alone says nothing.

Upstream: component-helpers/storage/ephemeral.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timonel.objects.meta import Object, is_controlled_by, key_of


def claim_name(pod: Object, volume: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['name']}-{volume['name']}"


def is_templated(pod: Object, claim: str) -> bool:
    """Whether a claim of this name is to be made for a volume of the pod."""
    volumes = pod["spec"].get("volumes") or ()
    return any("ephemeral" in v and claim_name(pod, v) == claim for v in volumes)


def whose_else(claim: Object, pod: Object) -> str:
    """Why the claim of this name is not the pod's; empty if it is."""
    if key_of(claim).namespace == key_of(pod).namespace and is_controlled_by(claim, pod):
        return ""
    return f"PVC {key_of(claim)} was not created for pod {key_of(pod)} (pod is not owner)"

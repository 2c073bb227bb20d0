"""Which ConfigMaps, Secrets, claims and volumes a pod refers to. Pure.

The node agent may read only what its own pods name (the node authorizer asks the same question of the server's graph).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from timonel.objects import ephemeral
from timonel.objects.meta import Object
from timonel.records import dataclass


@dataclass(frozen=True, slots=True)
class References:
    config_maps: frozenset[str]
    secrets: frozenset[str]
    claims: frozenset[str]


def references(pod: Object) -> References:
    found = list(_names(pod))
    return References(
        *(
            frozenset(name for kind, name in found if kind == wanted)
            for wanted in ("configmap", "secret", "claim")
        )
    )


def containers_of(pod: Object) -> Iterator[Mapping[str, Any]]:
    """Init containers first, in order; those that were added for debugging last."""
    yield from pod["spec"].get("initContainers") or ()
    yield from pod["spec"]["containers"]
    yield from pod["spec"].get("ephemeralContainers") or ()


def claim_name(pod: Object, volume: Mapping[str, Any]) -> str | None:
    """The claim behind a volume; a generic ephemeral volume's is named after pod and volume."""
    if (source := volume.get("persistentVolumeClaim")) is not None:
        return str(source["claimName"])
    return ephemeral.claim_name(pod, volume) if "ephemeral" in volume else None


def _names(pod: Object) -> Iterator[tuple[str, str]]:
    for ref in pod["spec"].get("imagePullSecrets") or ():
        if ref.get("name"):
            yield "secret", ref["name"]
    for c in containers_of(pod):
        yield from _of_environment(c)
    for volume in pod["spec"].get("volumes") or ():
        yield from _of_volume(pod, volume)


def _of_environment(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        if (ref := source.get("configMapRef")) is not None:
            yield "configmap", ref["name"]
        if (ref := source.get("secretRef")) is not None:
            yield "secret", ref["name"]
    for entry in container.get("env") or ():
        origin = entry.get("valueFrom") or {}
        if (ref := origin.get("configMapKeyRef")) is not None:
            yield "configmap", ref["name"]
        if (ref := origin.get("secretKeyRef")) is not None:
            yield "secret", ref["name"]


def _of_volume(pod: Object, volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if (source := volume.get("configMap")) is not None:
        yield "configmap", source["name"]
    if (source := volume.get("secret")) is not None:
        yield "secret", source["secretName"]
    for source in (volume.get("projected") or {}).get("sources") or ():
        if (ref := source.get("configMap")) is not None:
            yield "configmap", ref["name"]
        if (ref := source.get("secret")) is not None:
            yield "secret", ref["name"]
    claim = claim_name(pod, volume)
    if claim is not None:
        yield "claim", claim

"""What admission plugins share: how they refuse. Upstream: apiserver/pkg/admission/errors.go."""

from __future__ import annotations

from collections.abc import Iterable

from timonel.apis.resource import ResourceType
from timonel.machinery import errors
from timonel.machinery.errors import Cause, Forbidden
from timonel.server.request import AdmissionCall, Operation

MIRROR = "kubernetes.io/config.mirror"
WRITES = (Operation.CREATE, Operation.UPDATE)


def name_of(call: AdmissionCall) -> str:
    """The object's name as a refusal shows it; a name that will be generated is not known yet."""
    metadata = (call.obj or {}).get("metadata") or {}
    return call.name or metadata.get("name") or metadata.get("generateName") or "Unknown"


def forbidden(call: AdmissionCall, why: str, causes: Iterable[Cause] = ()) -> Forbidden:
    refusal = errors.forbidden(call.resource.plural, name_of(call), why, call.resource.group)
    found = tuple(causes)
    if not found:
        return refusal
    return Forbidden(
        refusal.message,
        name=name_of(call),
        group=call.resource.group,
        kind=call.resource.plural,
        causes=found,
    )


def joined(problems: list[str]) -> str:
    """Several problems as one text, as upstream's aggregate error prints them."""
    texts = list(dict.fromkeys(problems))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def creates(resource: ResourceType, subresource: str, operation: Operation, qualified: str) -> bool:
    return resource.qualified == qualified and not subresource and operation is Operation.CREATE

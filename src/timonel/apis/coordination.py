"""coordination.k8s.io/v1: Lease.

Upstream: pkg/apis/coordination/validation/validation.go, pkg/registry/coordination/lease/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from timonel.apis import checks
from timonel.apis.printing import AGE
from timonel.apis.resource import Column, ResourceType
from timonel.machinery import field
from timonel.machinery.errors import Cause
from timonel.objects.meta import Object


def prepare_create(obj: Object) -> None:
    for key in ("strategy", "preferredHolder"):  # only with CoordinatedLeaderElection
        (obj.get("spec") or {}).pop(key, None)


def prepare_update(new: Object, old: Object) -> None:
    prepare_create(new)


def validate(obj: Object) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        yield field.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
    yield from checks.not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))


def validate_update(new: Object, old: Object) -> Iterator[Cause]:
    yield from validate(new)


LEASE = ResourceType(
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    create_on_update=True,
    unconditional_update=False,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    columns=(
        Column(
            "Holder",
            lambda o, now: (o.get("spec") or {}).get("holderIdentity", ""),
            doc="spec.holderIdentity",
        ),
        AGE,
    ),
)

RESOURCES = (LEASE,)
